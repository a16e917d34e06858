"""
The events, as typed values. Wire names are camelCase; the committed schemas under `schemas/` are what counts on the
wire, and a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A fact about one order."""

    order_id: OrderId
    customer_id: CustomerId

    @classmethod
    def type_name(cls) -> str:
        """The schema's full name, and the record's `ce_type`."""
        return f"orderflow.{cls.__name__}"


class OrderLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    sku: Sku
    quantity: int
    unit_price_minor: int


class PaymentMode(StrEnum):
    AUTOMATIC = "AUTOMATIC"
    ON_REQUEST = "ON_REQUEST"


class OrderStatus(StrEnum):
    CREATED = "CREATED"
    PAID = "PAID"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"


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


class OrderEvent(Event, frozen=True, kw_only=True):
    status: OrderStatus
    description: str
    timestamp: datetime
    version: int
    previous_status: OrderStatus | None = None
    reason: str | None = None


EVENT_TYPES: dict[str, type[Event]] = {event.type_name(): event for event in (OrderCreated, OrderEvent)}
