"""Functions compiled for a type and a schema: what they return is what the general way returns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.messaging.schemas.parcels import (
    CATALOGUE,
    MOMENT,
    PARCELS_SHIPPED,
    SHIPPED,
    SHIPPED_FIELDS,
    SHIPPED_SCHEMA,
    ParcelShipped,
    Size,
    schema,
)

from orderflow.messaging.errors import Poison
from orderflow.messaging.schemas.avro import Decoder, Encoder, parse
from orderflow.messaging.schemas.compiled import compile_reader, compile_writer
from orderflow.messaging.testing.registry import InMemoryRegistry

REGISTRY = InMemoryRegistry.holding(CATALOGUE)
ENCODER, DECODER = Encoder.load(REGISTRY, CATALOGUE), Decoder(REGISTRY)
SCHEMA = parse(SHIPPED_SCHEMA.text)
PAYLOAD = ENCODER._encode("parcels", SHIPPED)
READ = compile_reader(SCHEMA, ParcelShipped)
WRITE = compile_writer(SCHEMA, ParcelShipped, PAYLOAD[:5])


def read(payload: bytes) -> ParcelShipped | None:
    """What the compiled function returns; None if it has no word about it."""
    assert READ is not None
    try:
        return READ(payload)
    except Exception:  # noqa: BLE001 - whatever it raises, the general way follows
        return None


def write(event: ParcelShipped) -> bytes | None:
    assert WRITE is not None
    try:
        return WRITE(event)
    except Exception:  # noqa: BLE001 - as above
        return None


@given(PARCELS_SHIPPED)
def test_every_usual_event_is_written_and_read_as_by_the_general_way(event: ParcelShipped) -> None:
    payload = ENCODER._encode("parcels", event)
    assert write(event) == payload
    assert read(payload) == DECODER._decode_as(payload, ParcelShipped) == event


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_by_the_general_way_or_left_to_it(body: bytes) -> None:
    read_it = read(PAYLOAD[:5] + body)
    assert read_it is None or read_it == DECODER._decode_as(PAYLOAD[:5] + body, ParcelShipped)


@given(st.integers(5, len(PAYLOAD) - 1), st.integers(0, 255), st.integers(0, 1))
def test_damage_is_left_to_the_general_way(position: int, value: int, cut: int) -> None:
    damaged = PAYLOAD[:position] + bytes([value]) + PAYLOAD[position + 1 :]
    damaged = damaged[:position] if cut else damaged
    read_it = read(damaged)
    assert read_it is None or read_it == DECODER._decode_as(damaged, ParcelShipped)


def test_what_is_cut_or_followed_by_more_is_never_read() -> None:
    assert read(PAYLOAD) == SHIPPED
    assert [read(PAYLOAD[:size]) for size in range(5, len(PAYLOAD))] == [None] * (len(PAYLOAD) - 5)
    assert read(PAYLOAD + b"\0") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"parcel_id": 7},
        {"parcel_id": b"P-1"},
        {"weight_g": "heavy"},
        {"weight_g": 1.5},
        {"weight_g": 1 << 63},
        {"weight_g": True},
        {"shipped_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what must not be written
        {"items": None},
        {"size": "HUGE"},
        {"note": 7},
    ],
)
def test_a_value_of_another_type_is_left_to_the_general_way(wrong: dict[str, Any]) -> None:
    assert write(msgspec.structs.replace(SHIPPED, **wrong)) is None


@pytest.mark.parametrize("length", [63, 64, 8_191, 8_192, 100_000])
def test_long_texts_and_many_items_come_back(length: int) -> None:
    event = msgspec.structs.replace(
        SHIPPED, note="ä" * length, items=SHIPPED.items * (length // 100)
    )
    for _ in range(2):
        payload = ENCODER.encode("parcels", event)
        assert payload == ENCODER._encode("parcels", event)
        assert DECODER.decode_as(payload, ParcelShipped) == event


@pytest.mark.parametrize("year", [1, 1969, 1970, 1977, 1978, 1979, 2038, 2109, 2110, 9999])
def test_a_moment_of_any_year_comes_back(year: int) -> None:
    for days in (0, 200):
        moment = datetime(year, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC) + timedelta(days=days)
        event = msgspec.structs.replace(SHIPPED, shipped_at=moment, returned_at=moment)
        payload = ENCODER._encode("parcels", event)
        assert write(event) == payload
        assert read(payload) == event


def test_a_field_that_the_event_does_not_have_is_passed_over_and_a_missing_one_is_default() -> None:
    added = {"name": "colour", "type": ["null", "string"], "default": None}
    fields = [added, *(field for field in SHIPPED_FIELDS if field["name"] != "note"), added]
    fields[-1] = {**added, "name": "shape"}
    newer = parse(schema("ParcelShipped", fields).text)
    reader = compile_reader(newer, ParcelShipped)
    assert reader is not None
    assert reader(PAYLOAD[:5] + b"\2\6red" + _without_note() + b"\0") == SHIPPED
    assert compile_writer(newer, ParcelShipped, b"") is None


def _without_note() -> bytes:
    """The body of `SHIPPED`, whose note is one byte for "none", in front of the two moments."""
    body = PAYLOAD[5:]
    return body[:-8] + body[-7:]


RECURSIVE = {
    "type": "record",
    "name": "Nested",
    "fields": [{"name": "inner", "type": ["null", "Nested"]}],
}


@pytest.mark.parametrize(
    "fields",
    [
        [field for field in SHIPPED_FIELDS if field["name"] != "parcelId"],
        [*SHIPPED_FIELDS, {"name": "map", "type": {"type": "map", "values": "string"}}],
        [*SHIPPED_FIELDS, {"name": "ratio", "type": "double"}],
        [*SHIPPED_FIELDS, {"name": "nested", "type": RECURSIVE}],
        [*SHIPPED_FIELDS, {"name": "either", "type": ["string", "long"]}],
        [*SHIPPED_FIELDS, {"name": "more", "type": ["null", "string", "long"]}],
        [{**SHIPPED_FIELDS[0], "type": "long"}, *SHIPPED_FIELDS[1:]],
        [*SHIPPED_FIELDS[:-1], {"name": "shippedAt", "type": "long"}],
        [*SHIPPED_FIELDS[:-1], {"name": "shippedAt", "type": ["null", MOMENT]}],
    ],
)
def test_no_function_is_made_for_anything_else(fields: list[dict[str, Any]]) -> None:
    other = parse(schema("ParcelShipped", fields).text)
    assert compile_reader(other, ParcelShipped) is None


def test_a_symbol_that_the_event_does_not_know_makes_no_function() -> None:
    sizes = {"type": "enum", "name": "Size", "symbols": [*Size, "HUGE"]}
    fields = [{**f, "type": sizes} if f["name"] == "size" else f for f in SHIPPED_FIELDS]
    assert compile_reader(parse(schema("ParcelShipped", fields).text), ParcelShipped) is None


def test_damage_is_poison_also_behind_a_compiled_function() -> None:
    decoder = Decoder(REGISTRY)
    for _ in range(2):
        assert decoder.decode_as(PAYLOAD, ParcelShipped) == SHIPPED
    with pytest.raises(Poison, match="left over"):
        decoder.decode_as(PAYLOAD + b"\0", ParcelShipped)
    with pytest.raises(Poison, match="can't be read"):
        decoder.decode_as(PAYLOAD[:-1], ParcelShipped)
