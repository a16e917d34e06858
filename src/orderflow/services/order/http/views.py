"""What a client gets to see: allow-lists, nothing of a row by accident."""

from __future__ import annotations

from datetime import datetime

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.services.order.deadlines import Waiting
from orderflow.services.order.model import (
    Action,
    HistoryEntry,
    Order,
    Payment,
    Product,
    StockState,
    allowed_actions,
)

SHORT_MESSAGE = "Order has been created"


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    order_id: str
    message: str | None = None
    customer_id: str
    status: OrderStatus
    version: int
    revision: int
    payment: Payment
    stock: StockState
    payment_mode: PaymentMode
    payment_method: str | None
    lines: tuple[OrderLine, ...]
    amount_minor: int
    currency: str
    created_at: datetime
    updated_at: datetime
    allowed_actions: tuple[Action, ...]
    waiting: Waiting | None = None


class OrderPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[OrderView, ...]
    next_cursor: str | None


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    id: str


class HistoryView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    revision: int
    version: int
    status: str
    description: str
    occurred_at: datetime
    event_id: str | None
    cause: Cause


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[HistoryView, ...]
    next_cursor: str | None = None


class ProductPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[Product, ...]
    next_cursor: str | None = None


def order_view(
    order: Order, *, message: str | None = None, waiting: Waiting | None = None
) -> OrderView:
    return OrderView(
        order_id=order.order_id,
        message=message,
        customer_id=order.customer_id,
        status=order.status,
        version=order.version,
        revision=order.revision,
        payment=order.payment,
        stock=order.stock,
        payment_mode=order.payment_mode,
        payment_method=order.payment_method,
        lines=order.lines,
        amount_minor=order.amount_minor,
        currency=order.currency,
        created_at=order.created_at,
        updated_at=order.updated_at,
        allowed_actions=allowed_actions(order),
        waiting=waiting,
    )


def history_page(entries: list[HistoryEntry]) -> HistoryPage:
    return HistoryPage(
        items=tuple(
            HistoryView(
                revision=entry.revision,
                version=entry.version,
                status=entry.status,
                description=entry.description,
                occurred_at=entry.occurred_at,
                event_id=None if entry.event_id is None else str(entry.event_id),
                cause=Cause(type=entry.cause_type, id=entry.cause_id),
            )
            for entry in entries
        )
    )
