"""Where a typed event and its schema may drift apart."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum

import msgspec
import pytest

from orderflow.messaging.schemas.conformity import mismatches


class Size(StrEnum):
    SMALL = "SMALL"
    LARGE = "LARGE"


class Item(msgspec.Struct):
    sku: str


class Parcel(msgspec.Struct, rename="camel"):
    parcel_id: str
    weight_g: int
    size: Size
    items: tuple[Item, ...]
    sent_at: datetime
    earlier_size: Size | None = None
    note: str | None = None


FIELDS: dict[str, object] = {
    "parcelId": "string",
    "weightG": "long",
    "size": {"type": "enum", "name": "Size", "symbols": ["SMALL", "LARGE"]},
    "items": {
        "type": "array",
        "items": {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "string"}]},
    },
    "sentAt": {"type": "long", "logicalType": "timestamp-millis"},
    "earlierSize": ["null", "Size"],
    "note": ["null", "string"],
}


def schema(**changed: object) -> str:
    fields = [
        {"name": name, "type": kind, **({"default": None} if isinstance(kind, list) else {})}
        for name, kind in {**FIELDS, **changed}.items()
        if kind is not None
    ]
    return json.dumps({"type": "record", "name": "Parcel", "namespace": "shop", "fields": fields})


def test_type_and_schema_that_agree_have_no_mismatch() -> None:
    assert mismatches(Parcel, schema()) == []


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("parcelId", "bytes"),
        ("weightG", "double"),
        ("size", {"type": "enum", "name": "Size", "symbols": ["SMALL"]}),
        ("size", "string"),
        ("items", {"type": "array", "items": "string"}),
        ("sentAt", "long"),
        ("sentAt", {"type": "long", "logicalType": "timestamp-micros"}),
        ("note", "string"),
        ("note", ["string", "null"]),
        ("note", ["null", "int"]),
    ],
)
def test_a_field_of_another_type_is_told_by_name(field: str, kind: object) -> None:
    assert any(
        f"Parcel.{field}" in complaint for complaint in mismatches(Parcel, schema(**{field: kind}))
    )


def test_a_missing_field_an_extra_one_and_another_order_are_told() -> None:
    assert mismatches(Parcel, schema(note=None))
    assert mismatches(Parcel, schema(colour="string"))
    turned = json.loads(schema())
    turned["fields"].reverse()
    assert mismatches(Parcel, json.dumps(turned))


def test_a_nested_record_is_compared_too() -> None:
    inner = {"type": "record", "name": "Item", "fields": [{"name": "sku", "type": "int"}]}
    assert mismatches(Parcel, schema(items={"type": "array", "items": inner})) == [
        "Parcel.items[].sku: the type is str, the schema has int"
    ]


def test_a_default_that_only_one_side_has_is_told() -> None:
    document = json.loads(schema())
    del document["fields"][-1]["default"]
    assert mismatches(Parcel, json.dumps(document))
