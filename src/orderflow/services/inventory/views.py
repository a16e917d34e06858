"""The JSON bodies of the inventory API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.events import StockLine
from orderflow.contracts.ids import OrderId
from orderflow.messaging.http.actor import Reason
from orderflow.services.inventory.announcements import Announced
from orderflow.services.inventory.model import (
    ON_HAND_MAX,
    Movement,
    Reservation,
    ReservationStatus,
    Stock,
)


class StockRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A stock-take: the pieces that were counted, reserved ones included."""

    on_hand: Annotated[int, Meta(ge=0, le=ON_HAND_MAX)]
    reason: Reason | None = None


class ReceiptRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Pieces that came in."""

    quantity: Annotated[int, Meta(ge=1, le=ON_HAND_MAX)]
    reason: Reason | None = None


class StockView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`onHand` is `received` + `corrected` - `shipped`. `movements`: their number, the ETag."""

    sku: str
    on_hand: int
    reserved: int
    available: int
    shipped: int
    received: int
    corrected: int
    movements: int


class MovementPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[Movement, ...]
    next_cursor: str | None


class StockPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[StockView, ...]
    next_cursor: str | None


class ReservationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: str
    customer_id: str
    payment_id: str
    status: ReservationStatus
    lines: tuple[StockLine, ...]


class AnnouncedEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    event_id: str
    event_type: str


class AnnouncedView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The events that go out again, with their ids."""

    order_id: str
    events: tuple[AnnouncedEvent, ...]


def announced_view(order_id: OrderId, announced: Sequence[Announced]) -> AnnouncedView:
    return AnnouncedView(
        order_id=order_id,
        events=tuple(
            AnnouncedEvent(event_id=str(event.event_id), event_type=event.event_type)
            for event in announced
        ),
    )


def stock_view(stock: Stock) -> StockView:
    return StockView(
        sku=stock.sku,
        on_hand=stock.on_hand,
        reserved=stock.reserved,
        available=stock.available,
        shipped=stock.shipped,
        received=stock.received,
        corrected=stock.corrected,
        movements=stock.movements,
    )


def reservation_view(reservation: Reservation) -> ReservationView:
    return msgspec.convert(reservation, ReservationView, from_attributes=True)
