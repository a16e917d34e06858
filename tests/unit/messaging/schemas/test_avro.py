"""Events ↔ bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.messaging.schemas.parcels import (
    CATALOGUE,
    LOST,
    PARCELS_SHIPPED,
    SHIPPED,
    ParcelLost,
    ParcelShipped,
)

from orderflow.messaging.errors import ConfigurationError, OperatorCommands, Poison, Unavailable
from orderflow.messaging.schemas.avro import USELESS_FOR_S, USELESS_MAX, Decoder, Encoder
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.testing.registry import InMemoryRegistry

REGISTRY = InMemoryRegistry.holding(CATALOGUE)
ENCODER = Encoder.load(REGISTRY, CATALOGUE)
DECODER = Decoder(REGISTRY)
PAYLOAD = ENCODER.encode("parcels", SHIPPED)


@given(PARCELS_SHIPPED)
def test_any_event_comes_back_as_it_was(event: ParcelShipped) -> None:
    assert DECODER.decode_as(ENCODER.encode("parcels", event), ParcelShipped) == event


def test_the_frame_is_confluents() -> None:
    schema_id = REGISTRY.id_of(
        "parcels-shop.ParcelShipped", CATALOGUE.versions("shop.ParcelShipped")[-1].text
    )
    assert schema_id is not None
    assert PAYLOAD[:5] == bytes([0]) + schema_id.to_bytes(4, "big")


def test_an_event_on_a_foreign_topic_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ParcelLost does not belong on topic parcels"):
        ENCODER.encode("parcels", LOST)


def test_an_unregistered_schema_is_refused_with_the_command_that_registers_it() -> None:
    commands = OperatorCommands(apply_schemas="`shop deploy`")
    schemas = CATALOGUE.versions("shop.ParcelLost")
    named = SchemaCatalogue(schemas, {"losses": ("shop.ParcelLost",)}, commands)

    with pytest.raises(
        ConfigurationError,
        match=r"ParcelLost version 1 is not registered .*: run `shop deploy`, then start again",
    ):
        Encoder.load(InMemoryRegistry(), named)


def test_a_writer_needs_only_the_schemas_of_its_own_topics() -> None:
    registry = InMemoryRegistry()
    for name in CATALOGUE.types_on("parcels"):
        registry.register(f"parcels-{name}", CATALOGUE.versions(name)[0].text)

    assert Encoder.load(registry, CATALOGUE, topics=["parcels"]).encode("parcels", SHIPPED)


def test_without_the_registry_known_schemas_are_written_and_read() -> None:
    """A loaded encoder and a decoder that has seen the id go on; a new decoder has to wait."""
    registry = InMemoryRegistry.holding(CATALOGUE)
    encoder, warm, cold = Encoder.load(registry, CATALOGUE), Decoder(registry), Decoder(registry)
    warm.decode(PAYLOAD)

    registry.available = False
    assert warm.decode_as(encoder.encode("parcels", SHIPPED), ParcelShipped) == SHIPPED
    with pytest.raises(Unavailable):
        cold.decode(PAYLOAD)

    registry.available = True
    assert cold.decode_as(PAYLOAD, ParcelShipped) == SHIPPED


def test_an_id_that_was_unknown_is_asked_for_again_soon_and_then_ever_more_rarely() -> None:
    """A schema can be registered after the first record that was written with it."""
    least, most = USELESS_FOR_S
    registry, clock = InMemoryRegistry(), MemoryClock()
    decoder = Decoder(registry, clock=clock)
    with pytest.raises(Poison, match="not known"):
        decoder.decode(PAYLOAD)
    assert decoder.knows(PAYLOAD), "poison is found without the registry"

    registry.available = False
    with pytest.raises(Poison, match="not known"):
        decoder.decode(PAYLOAD)
    waits = [least]
    while waits[-1] < most:
        clock.advance(waits[-1])
        registry.available = True
        with pytest.raises(Poison, match="not known"):
            decoder.decode(PAYLOAD)
        registry.available = False
        waits.append(min(most, 2 * waits[-1]))
        clock.advance(waits[-1] - 0.1)
        with pytest.raises(Poison, match="not known"):
            decoder.decode(PAYLOAD)

    clock.advance(most)
    registry.available = True
    for subject, type_name in CATALOGUE.subjects():
        registry.register(subject, CATALOGUE.versions(type_name)[0].text)
    assert decoder.decode_as(PAYLOAD, ParcelShipped) == SHIPPED


def test_a_schema_that_is_no_avro_is_looked_up_once_too() -> None:
    class Registry(InMemoryRegistry):
        looked_up = 0

        def schema_text(self, schema_id: int) -> str | None:
            self.looked_up += 1
            return {1: '{"type": "object"}', 2: '"string"'}[schema_id]

    registry = Registry()
    decoder = Decoder(registry, clock=MemoryClock())
    for schema_id, why in ((1, "not an Avro schema"), (2, "not a record")):
        for _ in range(3):
            with pytest.raises(Poison, match=f"schema id {schema_id} is {why}"):
                decoder.decode(b"\x00" + schema_id.to_bytes(4, "big") + b"x")
    assert registry.looked_up == 2


def test_only_so_many_unknown_ids_are_remembered() -> None:
    decoder = Decoder(InMemoryRegistry(), clock=MemoryClock())
    payloads = [b"\x00" + (10_000 + n).to_bytes(4, "big") for n in range(USELESS_MAX + 1)]
    for payload in payloads:
        with pytest.raises(Poison, match="not known"):
            decoder.type_of(payload)
    assert [decoder.knows(payload) for payload in payloads[:2]] == [False, True]
    assert decoder.knows(payloads[-1])


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (None, "no value"),
        (b"", "empty"),
        (b"\x00\x00\x00\x01", "frame"),
        (b"{}        ", "frame"),
        (b"\x00\x00\x00\x03\xe7" + PAYLOAD[5:], "schema id 999 is not known"),
        (PAYLOAD[:-1], "can't be read"),
        (PAYLOAD + b"\x00", "left over"),
    ],
)
def test_bytes_that_nobody_can_read_are_poison(payload: bytes | None, why: str) -> None:
    with pytest.raises(Poison, match=why):
        DECODER.decode(payload)


@given(st.binary(max_size=200))
def test_whatever_the_body_holds_the_result_is_an_event_or_poison(body: bytes) -> None:
    try:
        decoded = DECODER.decode_as(PAYLOAD[:5] + body, ParcelShipped)
    except Poison:
        return
    assert ENCODER.encode("parcels", decoded)


@given(st.integers(5, len(PAYLOAD) - 1), st.integers(0, 255))
def test_a_single_damaged_byte_never_raises_anything_but_poison(position: int, value: int) -> None:
    damaged = PAYLOAD[:position] + bytes([value]) + PAYLOAD[position + 1 :]
    try:
        DECODER.decode_as(damaged, ParcelShipped)
    except Poison:
        return


def test_an_event_of_another_type_is_poison_to_a_reader_that_wants_this_one() -> None:
    with pytest.raises(Poison, match=r"shop\.ParcelShipped, not a ParcelLost"):
        DECODER.decode_as(PAYLOAD, ParcelLost)


NO_AVRO = {
    "a JSON schema": '{"type": "object", "properties": {}}',
    "a reference to another schema": (
        '{"type": "record", "name": "A", "fields": [{"name": "x", "type": "b.C"}]}'
    ),
    "a reference in JSON": '{"$ref": "x"}',
    "a number": "5",
    "nothing": "null",
    "a nameless record": '{"type": "record", "fields": []}',
    "a record without end": "[" * 3_000 + "]" * 3_000,
    "Protobuf": 'syntax = "proto3"; message A {}',
}


@pytest.mark.parametrize("text", NO_AVRO.values(), ids=NO_AVRO)
def test_a_schema_that_is_no_avro_makes_its_records_poison_and_hurts_nobody(text: str) -> None:
    class Anything(InMemoryRegistry):
        def schema_text(self, schema_id: int) -> str | None:
            return text

    with pytest.raises(Poison):
        Decoder(Anything()).decode(b"\0\0\0\0\1body")


def test_the_type_of_a_record_is_known_without_reading_its_body() -> None:
    assert DECODER.type_of(PAYLOAD[:5] + b"junk") == "shop.ParcelShipped"
    with pytest.raises(Poison):
        DECODER.type_of(b"\1" + PAYLOAD[1:])
