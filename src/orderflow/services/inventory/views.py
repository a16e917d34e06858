"""The JSON bodies of the inventory API."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.events import StockLine
from orderflow.services.inventory.model import ON_HAND_MAX, Reservation, ReservationStatus, Stock


class StockRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The pieces there are now, reserved ones included; replaces the number before."""

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


def stock_view(stock: Stock) -> StockView:
    return StockView(
        sku=stock.sku,
        on_hand=stock.on_hand,
        reserved=stock.reserved,
        available=stock.available,
        shipped=stock.shipped,
    )


def reservation_view(reservation: Reservation) -> ReservationView:
    return msgspec.convert(reservation, ReservationView, from_attributes=True)
