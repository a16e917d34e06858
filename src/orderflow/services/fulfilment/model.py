"""
A shipment's rules, without a driver in sight: the feed says what became of an order, the table what that means here.

Versions count an order's status changes without a gap, so a higher one is later, whatever order the records come in: a
dead letter that comes back finds a newer version, and moves nothing. A version that never came is made up for by the
next one, which says all there is to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.errors import Poison


class ShipmentStatus(StrEnum):
    """PREPARED: to be packed. TRACKED: on its way. CLOSED: with the customer. CALLED_OFF: not to be sent."""

    PREPARED = "PREPARED"
    TRACKED = "TRACKED"
    CLOSED = "CLOSED"
    CALLED_OFF = "CALLED_OFF"


class Contradiction(Poison):
    """The feed says of an order what cannot follow from what it said before: somebody has to look."""


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """One order's. `version` is that of the last event that counted; the times are the feed's own."""

    order_id: OrderId
    customer_id: CustomerId
    status: ShipmentStatus
    version: int
    reason: str | None = None
    prepared_at: datetime | None = None
    tracked_at: datetime | None = None
    closed_at: datetime | None = None
    called_off_at: datetime | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch comes to."""

    opened: tuple[Shipment, ...]
    moved: tuple[Shipment, ...]


NEXT: Mapping[tuple[ShipmentStatus | None, OrderStatus], ShipmentStatus] = {
    (None, OrderStatus.PAID): ShipmentStatus.PREPARED,
    (None, OrderStatus.SHIPPED): ShipmentStatus.TRACKED,
    (None, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
    (None, OrderStatus.CANCELLED): ShipmentStatus.CALLED_OFF,
    (ShipmentStatus.PREPARED, OrderStatus.SHIPPED): ShipmentStatus.TRACKED,
    (ShipmentStatus.PREPARED, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
    (ShipmentStatus.PREPARED, OrderStatus.CANCELLED): ShipmentStatus.CALLED_OFF,
    (ShipmentStatus.TRACKED, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
}
"""What a newer event makes of a shipment, or of none. What is not in the table contradicts what was said before."""


def decide(batch: Iterable[OrderEvent], shipments: Mapping[OrderId, Shipment]) -> Decision:
    """Judge the events in their order, each against what the ones before it left. `shipments` are locked."""
    changed: dict[OrderId, Shipment] = {}
    for event in batch:
        held = changed.get(event.order_id) or shipments.get(event.order_id)
        if (moved := after(event, held)) is not None:
            changed[event.order_id] = moved
    return Decision(
        opened=tuple(one for order_id, one in changed.items() if order_id not in shipments),
        moved=tuple(one for order_id, one in changed.items() if order_id in shipments),
    )


def after(event: OrderEvent, held: Shipment | None) -> Shipment | None:
    """The shipment as `event` leaves it; None if it leaves it as it is. Raises Contradiction."""
    if held is None and never_paid(event):
        return None
    if held is not None and event.version <= held.version:
        return None
    status = NEXT.get((held.status if held else None, event.status))
    if status is None:
        found = held.status if held else "nothing"
        raise Contradiction(
            f"order {event.order_id} version {event.version} is {event.status}, but recorded is {found}"
        )
    known = held or Shipment(
        order_id=event.order_id, customer_id=event.customer_id, status=status, version=0
    )
    times = {f"{status.lower()}_at": event.timestamp}
    return msgspec.structs.replace(
        known, status=status, version=event.version, reason=event.reason, **times
    )


def never_paid(event: OrderEvent) -> bool:
    """
    Is there nothing to send, and never was? Then there is nothing to call off either.

    No mark is left: an order that was cancelled before it was paid has no event that could prepare something, early or
    late. One that was paid leaves its shipment called off, though its PAID may come later, or never.
    """
    cancelled_unpaid = (
        event.status is OrderStatus.CANCELLED and event.previous_status is OrderStatus.CREATED
    )
    return event.status is OrderStatus.CREATED or cancelled_unpaid
