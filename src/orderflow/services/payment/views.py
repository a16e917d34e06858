"""The JSON bodies of the payment API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.ids import OrderId
from orderflow.services.payment import repository
from orderflow.services.payment.model import OrderAccount, Payment, PaymentState, RefundState

LIMIT_DEFAULT = 100
LIMIT_MAX = 500
LIMIT = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]


class RefundView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """REQUESTED: it is owed since `created_at`, and sent until the provider has given it back."""

    refund_id: str
    state: RefundState
    amount_minor: int
    reason: str
    provider_reference: str | None
    created_at: datetime
    settled_at: datetime | None


class PaymentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: str
    customer_id: str
    payment_id: str
    attempt: int
    state: PaymentState
    amount_minor: int
    currency: str
    payment_method: str
    provider_reference: str | None
    reason: str | None
    message: str | None
    created_at: datetime
    unknown_since: datetime | None
    settled_at: datetime | None
    refund: RefundView | None


class OrderPayments(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`closed`: the order was cancelled, so nothing more is charged."""

    order_id: str
    closed: bool
    payments: tuple[PaymentView, ...]


class PaymentPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Payments, those of the newest order first. `nextCursor` is null on the last page."""

    items: tuple[PaymentView, ...]
    next_cursor: str | None


class LedgerSummary(msgspec.Struct, frozen=True, kw_only=True):
    items: list[repository.Sum]


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """`effect`: settled, repeated, ignored or mismatch."""

    effect: str


def order_payments(order_id: OrderId, account: OrderAccount) -> OrderPayments:
    payments = tuple(map(payment_view, account.payments))
    return OrderPayments(order_id=order_id, closed=account.closed, payments=payments)


def payment_view(payment: Payment) -> PaymentView:
    return msgspec.convert(payment, PaymentView, from_attributes=True)
