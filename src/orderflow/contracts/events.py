"""
The events as typed values.

Wire names are camelCase. On the wire the committed schemas under `schemas/` are authoritative, and
a test holds these types and the schemas together.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar

import msgspec

from orderflow.contracts.ids import (
    CustomerId,
    FactId,
    NotificationId,
    OrderId,
    PaymentId,
    RefundId,
    Sku,
)


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What every event contains of its record: the key, the CloudEvents subject and the time.

    A subclass says by `KEY_FIELD`, `SUBJECT_FIELD` and `TIME_FIELD` which of its fields they are.
    """

    TIME_FIELD: ClassVar[str] = "occurred_at"
    KEY_FIELD: ClassVar[str] = "order_id"
    SUBJECT_FIELD: ClassVar[str] = "order_id"

    @classmethod
    def type_name(cls) -> str:
        """The schema's full name, and the record's `ce_type`."""
        return f"orderflow.{cls.__name__}"

    @property
    def key(self) -> str:
        """The record's key: records with the same key stay in order."""
        key: str = getattr(self, self.KEY_FIELD)
        return key

    @property
    def subject(self) -> str:
        """`ce_subject`."""
        subject: str = getattr(self, self.SUBJECT_FIELD)
        return subject

    @property
    def happened_at(self) -> datetime:
        """`ce_time`: aware UTC, in milliseconds."""
        moment: datetime = getattr(self, self.TIME_FIELD)
        return moment

    @property
    def headline(self) -> str:
        """The event's name in log lines."""
        return type(self).__name__


class Event(Envelope, frozen=True, kw_only=True):
    """A fact about one order. Keyed by order id, so an order's events stay in order."""

    order_id: OrderId
    customer_id: CustomerId


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
    """Why an order was cancelled, refunded and its stock released. A string on the wire."""

    CUSTOMER = "CUSTOMER"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    PAYMENT_DEADLINE = "PAYMENT_DEADLINE"
    STOCK_DEADLINE = "STOCK_DEADLINE"
    OPERATOR = "OPERATOR"


class PaymentFailureReason(StrEnum):
    """Why nothing was captured. A string on the wire."""

    DECLINED = "DECLINED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    OPERATOR = "OPERATOR"


class StockRejectionReason(StrEnum):
    """Why nothing was reserved. A string on the wire."""

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
    """The only cause of a refund, whether a customer, a deadline or an operator cancelled."""

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

    @property
    def headline(self) -> str:
        return self.status.value


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
    """
    Nothing was captured, and nothing will be.

    The provider refused explicitly, or the order was cancelled first. Never after a time-out.
    """

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


class Notification(Envelope, frozen=True, kw_only=True):
    """
    The outcome of one notification. Keyed by customer id, so a customer's outcomes stay in order.

    `sequence` counts a customer's notifications, sent and failed, from 1 and without a gap.
    """

    KEY_FIELD: ClassVar[str] = "customer_id"

    notification_id: NotificationId
    customer_id: CustomerId
    sequence: int
    order_id: OrderId
    kind: str
    channel: str
    cause_id: str
    cause_type: str
    occurred_at: datetime


class NotificationSent(Notification, frozen=True, kw_only=True):
    """The channel (the mail server) accepted it."""


class NotificationFailed(Notification, frozen=True, kw_only=True):
    """The channel refused it explicitly and for good. Never because the channel is unreachable."""

    reason: str
    attempts: int


class CurrencyTotals(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was taken and given back in one currency. Net is captured − refunded."""

    captured_minor: int
    refunded_minor: int
    net_minor: int
    payments: int
    refunds: int


class RevenueByCustomer(Envelope, frozen=True, kw_only=True):
    """A customer's revenue by currency. Keyed by customer id; the last record is the present."""

    TIME_FIELD: ClassVar[str] = "updated_at"
    KEY_FIELD: ClassVar[str] = "customer_id"
    SUBJECT_FIELD: ClassVar[str] = "customer_id"

    customer_id: CustomerId
    totals: dict[str, CurrencyTotals]
    updated_at: datetime


class Hourly(Envelope, frozen=True, kw_only=True):
    """Keyed by hour and currency (`2026-11-28T13:00:00Z/EUR`), so that keys sort by time."""

    hour: datetime
    currency: str

    @property
    def key(self) -> str:
        return hour_key(self.currency, self.hour)

    @property
    def subject(self) -> str:
        return self.key


class RevenueByHour(Hourly, frozen=True, kw_only=True):
    """One currency's revenue in one hour of event time; the last record is the present."""

    TIME_FIELD: ClassVar[str] = "updated_at"

    totals: CurrencyTotals
    updated_at: datetime


class CustomerRevenueChange(Envelope, frozen=True, kw_only=True):
    """
    Internal to revenue: a capture or a refund, re-keyed by customer. `fact_id` is the payment's id
    or the refund's: it counts once.
    """

    KEY_FIELD: ClassVar[str] = "customer_id"
    SUBJECT_FIELD: ClassVar[str] = "customer_id"

    customer_id: CustomerId
    fact_id: FactId
    currency: str
    captured_minor: int
    refunded_minor: int
    is_refund: bool
    occurred_at: datetime


class HourRevenueChange(Hourly, frozen=True, kw_only=True):
    """Internal to revenue: captures and refunds that count, re-keyed by hour and currency."""

    captured_minor: int
    refunded_minor: int
    payments: int
    refunds: int
    occurred_at: datetime


@lru_cache(maxsize=1_000)
def hour_key(currency: str, hour: datetime) -> str:
    """The key of one currency's hour (aware UTC)."""
    return f"{hour:%Y-%m-%dT%H}:00:00Z/{currency}"


EVENT_TYPES: dict[str, type[Envelope]] = {
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
        NotificationSent,
        NotificationFailed,
        RevenueByCustomer,
        RevenueByHour,
        CustomerRevenueChange,
        HourRevenueChange,
    )
}
