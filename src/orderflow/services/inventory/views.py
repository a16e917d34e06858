"""What the inventory API is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.events import StockLine
from orderflow.services.inventory.model import ON_HAND_MAX, Reservation, ReservationStatus, Stock


class StockRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What is there now, whatever was there before; pieces that are reserved are among it."""

    on_hand: Annotated[int, Meta(ge=0, le=ON_HAND_MAX)]


class StockView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    sku: str
    on_hand: int
    reserved: int
    available: int
    shipped: int


class StockPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[StockView, ...]
    next_cursor: str | None


class ReservationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: str
    customer_id: str
    payment_id: str
    status: ReservationStatus
    lines: tuple[StockLine, ...]


def stock_view(one: Stock) -> StockView:
    return StockView(
        sku=one.sku,
        on_hand=one.on_hand,
        reserved=one.reserved,
        available=one.available,
        shipped=one.shipped,
    )


def reservation_view(one: Reservation) -> ReservationView:
    return msgspec.convert(one, ReservationView, from_attributes=True)
