"""The JSON bodies of the fulfilment API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.events import StockLine
from orderflow.services.fulfilment.model import Shipment, ShipmentStatus

LIMIT_DEFAULT = 100
LIMIT_MAX = 500
LIMIT = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]


class ShipmentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    Times are those of the events; null if the event has not been consumed. `lines`: what was
    reserved; null until that is known.
    """

    order_id: str
    customer_id: str
    status: ShipmentStatus
    version: int
    reason: str | None
    prepared_at: datetime | None
    tracked_at: datetime | None
    closed_at: datetime | None
    called_off_at: datetime | None
    paid_at: datetime | None
    reserved_at: datetime | None
    lines: tuple[StockLine, ...] | None


class ShipmentPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Shipments, newest order first. `nextCursor` is null on the last page."""

    items: tuple[ShipmentView, ...]
    next_cursor: str | None


def shipment_view(shipment: Shipment) -> ShipmentView:
    return msgspec.convert(shipment, ShipmentView, from_attributes=True)
