"""
The events, as typed values. Wire names are camelCase; the committed schemas under `schemas/` are what counts on the
wire, and a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, RefundId, Sku


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A fact about one order. It is its own envelope: key, subject and time of the record are in it."""

    TIME_FIELD: ClassVar[str] = "occurred_at"

    order_id: OrderId
    customer_id: CustomerId

    @classmethod
    def type_name(cls) -> str:
        """The schema's full name, and the record's `ce_type`."""
        return f"orderflow.{cls.__name__}"

    @property
    def key(self) -> str:
        """The record's key: what happens to an order stays in order."""
        return self.order_id

    @property
    def subject(self) -> str:
        """`ce_subject`."""
        return self.order_id

    @property
    def happened_at(self) -> datetime:
        """`ce_time`: aware UTC, in milliseconds."""
        moment: datetime = getattr(self, self.TIME_FIELD)
        return moment


class OrderLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    sku: Sku
    quantity: int
    unit_price_minor: int


class StockLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    sku: Sku
    quantity: int


class Shortage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    sku: Sku
    requested: int
    available: int


class PaymentMode(StrEnum):
    AUTOMATIC = "AUTOMATIC"
    ON_REQUEST = "ON_REQUEST"


class OrderStatus(StrEnum):
    CREATED = "CREATED"
    PAID = "PAID"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"


class CancelReason(StrEnum):
    """Why an order was cancelled, and so why it was refunded and its stock released. A text on the wire."""

    CUSTOMER = "CUSTOMER"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    PAYMENT_DEADLINE = "PAYMENT_DEADLINE"
    STOCK_DEADLINE = "STOCK_DEADLINE"
    OPERATOR = "OPERATOR"


class PaymentFailureReason(StrEnum):
    """Why nothing was captured. A text on the wire."""

    DECLINED = "DECLINED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    OPERATOR = "OPERATOR"


class StockRejectionReason(StrEnum):
    """Why nothing was reserved. A text on the wire."""

    OUT_OF_STOCK = "OUT_OF_STOCK"
    UNKNOWN_SKU = "UNKNOWN_SKU"


class OrderCreated(Event, frozen=True, kw_only=True):
    version: int
    lines: tuple[OrderLine, ...]
    amount_minor: int
    currency: str
    payment_mode: str
    attempt: int
    payment_id: PaymentId | None = None
    payment_method: str | None = None
    occurred_at: datetime


class PaymentRequested(Event, frozen=True, kw_only=True):
    attempt: int
    payment_id: PaymentId
    amount_minor: int
    currency: str
    payment_method: str
    lines: tuple[OrderLine, ...]
    occurred_at: datetime


class OrderCancelled(Event, frozen=True, kw_only=True):
    """The only cause of a refund, whoever cancelled."""

    version: int
    reason: str
    description: str
    occurred_at: datetime


class OrderShipped(Event, frozen=True, kw_only=True):
    version: int
    occurred_at: datetime


class OrderEvent(Event, frozen=True, kw_only=True):
    TIME_FIELD: ClassVar[str] = "timestamp"

    status: OrderStatus
    description: str
    timestamp: datetime
    version: int
    previous_status: OrderStatus | None = None
    reason: str | None = None


class PaymentSucceeded(Event, frozen=True, kw_only=True):
    attempt: int
    payment_id: PaymentId
    amount_minor: int
    currency: str
    payment_method: str
    provider_reference: str | None = None
    lines: tuple[OrderLine, ...]
    occurred_at: datetime


class PaymentFailed(Event, frozen=True, kw_only=True):
    """The provider's explicit, final no, or ours because the order is closed. A time-out is neither."""

    attempt: int
    payment_id: PaymentId
    amount_minor: int
    currency: str
    reason: str
    message: str
    occurred_at: datetime


class PaymentRefunded(Event, frozen=True, kw_only=True):
    attempt: int
    payment_id: PaymentId
    refund_id: RefundId
    amount_minor: int
    currency: str
    reason: str
    provider_reference: str | None = None
    occurred_at: datetime


class StockReserved(Event, frozen=True, kw_only=True):
    payment_id: PaymentId
    lines: tuple[StockLine, ...]
    occurred_at: datetime


class StockRejected(Event, frozen=True, kw_only=True):
    payment_id: PaymentId
    reason: str
    shortages: tuple[Shortage, ...]
    occurred_at: datetime


class StockReleased(Event, frozen=True, kw_only=True):
    payment_id: PaymentId
    lines: tuple[StockLine, ...]
    reason: str
    occurred_at: datetime


EVENT_TYPES: dict[str, type[Event]] = {
    event.type_name(): event
    for event in (
        OrderCreated,
        PaymentRequested,
        OrderCancelled,
        OrderShipped,
        OrderEvent,
        PaymentSucceeded,
        PaymentFailed,
        PaymentRefunded,
        StockReserved,
        StockRejected,
        StockReleased,
    )
}
