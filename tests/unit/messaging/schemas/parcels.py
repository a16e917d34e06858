"""Two events of a parcel service with their schemas: every kind of field that a schema may have."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from hypothesis import strategies as st
from tests.support.strategies import INT, LONG, MOMENTS, TEXT

from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue


class Size(StrEnum):
    SMALL = "SMALL"
    LARGE = "LARGE"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    sku: str
    quantity: int


class ParcelShipped(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    parcel_id: str
    weight_g: int
    size: Size
    items: tuple[Item, ...]
    note: str | None = None
    returned_at: datetime | None = None
    shipped_at: datetime


class ParcelLost(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    parcel_id: str
    lost_at: datetime


MOMENT = {"type": "long", "logicalType": "timestamp-millis"}
ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [{"name": "sku", "type": "string"}, {"name": "quantity", "type": "int"}],
}
SHIPPED_FIELDS: list[dict[str, Any]] = [
    {"name": "parcelId", "type": "string"},
    {"name": "weightG", "type": "long"},
    {"name": "size", "type": {"type": "enum", "name": "Size", "symbols": ["SMALL", "LARGE"]}},
    {"name": "items", "type": {"type": "array", "items": ITEM}},
    {"name": "note", "type": ["null", "string"], "default": None},
    {"name": "returnedAt", "type": ["null", MOMENT], "default": None},
    {"name": "shippedAt", "type": MOMENT},
]
LOST_FIELDS: list[dict[str, Any]] = [
    {"name": "parcelId", "type": "string"},
    {"name": "lostAt", "type": MOMENT},
]


def schema(name: str, fields: list[dict[str, Any]], version: int = 1) -> CommittedSchema:
    document = {"type": "record", "name": name, "namespace": "shop", "fields": fields}
    return CommittedSchema(type_name=f"shop.{name}", version=version, text=json.dumps(document))


SHIPPED_SCHEMA = schema("ParcelShipped", SHIPPED_FIELDS)
CATALOGUE = SchemaCatalogue(
    [SHIPPED_SCHEMA, schema("ParcelLost", LOST_FIELDS)],
    {"parcels": ("shop.ParcelShipped",), "losses": ("shop.ParcelLost",)},
)

SHIPPED = ParcelShipped(
    parcel_id="P-1",
    weight_g=1_250,
    size=Size.LARGE,
    items=(Item(sku="SKU-1", quantity=2), Item(sku="SKU-2", quantity=1)),
    shipped_at=datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC),
)
LOST = ParcelLost(parcel_id="P-1", lost_at=SHIPPED.shipped_at)

PARCELS_SHIPPED = st.builds(
    ParcelShipped,
    parcel_id=TEXT,
    weight_g=LONG,
    size=st.sampled_from(Size),
    items=st.lists(st.builds(Item, sku=TEXT, quantity=INT), max_size=4).map(tuple),
    note=st.none() | TEXT,
    returned_at=st.none() | MOMENTS,
    shipped_at=MOMENTS,
)
