"""Use cases: what a request causes, as facts to be written together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
import uuid_utils
import uuid_utils.compat

from orderflow.contracts import topics
from orderflow.contracts.events import Event, OrderCreated, OrderEvent, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, Sku
from orderflow.messaging.event import EventId, Metadata
from orderflow.messaging.outbox import OutboxRow
from orderflow.services.order.model import Order, Product, RequestedLine, place, priced

SOURCE = "/orderflow/order"

Encode = Callable[[str, msgspec.Struct], bytes]


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    customer_id: CustomerId
    lines: tuple[RequestedLine, ...]
    currency: str
    mode: PaymentMode
    payment_method: str | None
    traceparent: str


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One revision: a status change when `event_id` is there, else a fact that was noted."""

    revision: int
    version: int
    status: str
    description: str
    occurred_at: datetime
    event_id: EventId | None
    cause_type: str
    cause_id: str


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What one order writes, in one transaction."""

    order: Order
    entry: HistoryEntry
    outbox: tuple[OutboxRow, ...]


def place_order(command: PlaceOrder, *, catalogue: Mapping[Sku, Product], encode: Encode) -> Placed:
    now = _now()
    lines = priced(command.lines, catalogue=catalogue, currency=command.currency)
    order = place(
        order_id=OrderId(str(uuid_utils.uuid7())),
        customer_id=command.customer_id,
        lines=lines,
        currency=command.currency,
        mode=command.mode,
        payment_method=command.payment_method,
        now=now,
    )
    change = OrderEvent(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        description="Order has been created",
        timestamp=now,
        version=order.version,
    )
    changed = _told(change, topic=topics.ORDER_EVENTS.name, at=now, traceparent=command.traceparent, encode=encode)
    created = _told(_created(order), topic=topics.ORDERS.name, at=now, traceparent=command.traceparent, encode=encode)
    entry = HistoryEntry(
        revision=order.revision,
        version=order.version,
        status=order.status,
        description=change.description,
        occurred_at=now,
        event_id=changed.metadata.id,
        cause_type="command",
        cause_id="place",
    )
    return Placed(order=order, entry=entry, outbox=(created, changed))


def _created(order: Order) -> OrderCreated:
    return OrderCreated(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=order.version,
        lines=order.lines,
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_mode=order.payment_mode,
        attempt=order.payment.attempt,
        payment_id=order.payment.payment_id,
        payment_method=order.payment_method,
        occurred_at=order.created_at,
    )


def _told(event: Event, *, topic: str, at: datetime, traceparent: str, encode: Encode) -> OutboxRow:
    """An act of the API starts a chain: fresh ids, and no cause."""
    metadata = Metadata(
        id=EventId(uuid_utils.compat.uuid7()),
        type=event.type_name(),
        source=SOURCE,
        time=at,
        subject=event.order_id,
        correlation_id=event.order_id,
        traceparent=traceparent,
    )
    return OutboxRow(topic=topic, key=event.order_id, payload=encode(topic, event), metadata=metadata)


def _now() -> datetime:
    """One reading of the clock, as the wire keeps it: UTC, milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
