"""
The rules of shipments: a table from an order's status to what it means here. Imports no driver.

What is to be packed is known from two topics, which come in either order: the order is paid, and
its stock is reserved. Each is recorded as it comes; a shipment is PREPARED when both are.

Versions count an order's status changes without a gap, so a higher version is later, in whatever
order the records arrive: a dead letter that is replayed finds a newer version and changes nothing.
A version that never arrives does no harm, because the next one replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from orderflow.contracts.events import (
    OrderEvent,
    OrderStatus,
    StockLine,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.errors import Poison


class ShipmentStatus(StrEnum):
    """
    WAITING: paid, or reserved, and the other not yet. PREPARED: to be packed. TRACKED: under way.
    CLOSED: delivered. CALLED_OFF: not to be sent.
    """

    WAITING = "WAITING"
    PREPARED = "PREPARED"
    TRACKED = "TRACKED"
    CLOSED = "CLOSED"
    CALLED_OFF = "CALLED_OFF"


class Contradiction(Poison):
    """A status that cannot follow the recorded one: an operator has to look at the order."""


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """
    One order's shipment.

    `version` is that of the last status change that moved it, 0 before the first; the times are
    those of the events. `lines`: what was reserved for it; None until that is known.
    """

    order_id: OrderId
    customer_id: CustomerId
    status: ShipmentStatus
    version: int
    reason: str | None = None
    prepared_at: datetime | None = None
    tracked_at: datetime | None = None
    closed_at: datetime | None = None
    called_off_at: datetime | None = None
    paid_at: datetime | None = None
    reserved_at: datetime | None = None
    lines: tuple[StockLine, ...] | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The shipments to insert and to update for a batch."""

    opened: tuple[Shipment, ...]
    moved: tuple[Shipment, ...]


NEXT: Mapping[tuple[ShipmentStatus | None, OrderStatus], ShipmentStatus] = {
    (None, OrderStatus.PAID): ShipmentStatus.WAITING,
    (None, OrderStatus.SHIPPED): ShipmentStatus.TRACKED,
    (None, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
    (None, OrderStatus.CANCELLED): ShipmentStatus.CALLED_OFF,
    (ShipmentStatus.WAITING, OrderStatus.PAID): ShipmentStatus.PREPARED,
    (ShipmentStatus.WAITING, OrderStatus.SHIPPED): ShipmentStatus.TRACKED,
    (ShipmentStatus.WAITING, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
    (ShipmentStatus.WAITING, OrderStatus.CANCELLED): ShipmentStatus.CALLED_OFF,
    (ShipmentStatus.PREPARED, OrderStatus.SHIPPED): ShipmentStatus.TRACKED,
    (ShipmentStatus.PREPARED, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
    (ShipmentStatus.PREPARED, OrderStatus.CANCELLED): ShipmentStatus.CALLED_OFF,
    (ShipmentStatus.TRACKED, OrderStatus.DELIVERED): ShipmentStatus.CLOSED,
    # The stock was released first: the cancellation is what it was released for.
    (ShipmentStatus.CALLED_OFF, OrderStatus.PAID): ShipmentStatus.CALLED_OFF,
    (ShipmentStatus.CALLED_OFF, OrderStatus.CANCELLED): ShipmentStatus.CALLED_OFF,
}
"""What a newer event makes of a shipment, or of none. All that is missing is a Contradiction."""


ConsumedEvent = OrderEvent | StockReserved | StockReleased


def decide(batch: Iterable[ConsumedEvent], shipments: Mapping[OrderId, Shipment]) -> Decision:
    """
    Decide about each event in order; each sees what the events before it left.

    `shipments`: those of the batch's orders, locked. Raises Contradiction.
    """
    changed: dict[OrderId, Shipment] = {}
    for event in batch:
        shipment = changed.get(event.order_id) or shipments.get(event.order_id)
        moved = (
            after(event, shipment)
            if isinstance(event, OrderEvent)
            else after_stock(event, shipment)
        )
        if moved is not None:
            changed[event.order_id] = moved

    return Decision(
        opened=tuple(changed[order] for order in changed if order not in shipments),
        moved=tuple(changed[order] for order in changed if order in shipments),
    )


def after(event: OrderEvent, shipment: Shipment | None) -> Shipment | None:
    """The shipment after `event`; None if the event changes nothing. Raises Contradiction."""
    if event.status is OrderStatus.CREATED or (shipment is None and never_paid(event)):
        return None
    if shipment is not None and event.version <= shipment.version:
        return None

    status = NEXT.get((shipment.status if shipment else None, event.status))
    if status is None:
        recorded = shipment.status if shipment else "nothing"
        raise Contradiction(
            f"order {event.order_id} version {event.version} is {event.status},"
            f" but recorded is {recorded}"
        )

    opened = shipment or Shipment(
        order_id=event.order_id, customer_id=event.customer_id, status=status, version=0
    )
    moved = msgspec.structs.replace(
        opened,
        status=status,
        version=event.version,
        reason=event.reason,
        **{f"{_TIMES[event.status]}_at": event.timestamp},
    )
    return _prepared_if_known(moved)


def after_stock(event: StockReserved | StockReleased, shipment: Shipment | None) -> Shipment | None:
    """
    The shipment after what inventory decided; None if that changes nothing.

    Stock that is released calls a shipment off that has not left: its order is cancelled, and was
    perhaps never paid in the order's own eyes.
    """
    opened = shipment or Shipment(
        order_id=event.order_id,
        customer_id=event.customer_id,
        status=ShipmentStatus.WAITING,
        version=0,
    )

    if isinstance(event, StockReserved):
        if opened.lines is not None:
            return None
        reserved = msgspec.structs.replace(opened, lines=event.lines, reserved_at=event.occurred_at)
        return _prepared_if_known(reserved)
    if opened.status not in (ShipmentStatus.WAITING, ShipmentStatus.PREPARED):
        return None
    return msgspec.structs.replace(
        opened, status=ShipmentStatus.CALLED_OFF, called_off_at=event.occurred_at
    )


def _prepared_if_known(shipment: Shipment) -> Shipment:
    """Only what is paid and reserved is to be packed; since the later of the two."""
    if shipment.status not in (ShipmentStatus.WAITING, ShipmentStatus.PREPARED):
        return shipment

    if shipment.paid_at is None or shipment.reserved_at is None:
        return msgspec.structs.replace(shipment, status=ShipmentStatus.WAITING)
    return msgspec.structs.replace(
        shipment,
        status=ShipmentStatus.PREPARED,
        prepared_at=max(shipment.paid_at, shipment.reserved_at),
    )


def never_paid(event: OrderEvent) -> bool:
    """
    Was the order not paid before this event? Then there is nothing to send, nor to call off.

    Nothing is stored for an order that was cancelled before it was paid: no event can follow that
    would prepare a shipment. An order that was paid and then cancelled leaves a shipment called
    off, even if its PAID arrives later, or never.
    """
    cancelled_unpaid = (
        event.status is OrderStatus.CANCELLED and event.previous_status is OrderStatus.CREATED
    )
    return event.status is OrderStatus.CREATED or cancelled_unpaid


_TIMES: Mapping[OrderStatus, str] = {
    OrderStatus.PAID: "paid",
    OrderStatus.SHIPPED: "tracked",
    OrderStatus.DELIVERED: "closed",
    OrderStatus.CANCELLED: "called_off",
}
