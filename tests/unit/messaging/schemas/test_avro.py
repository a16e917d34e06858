"""Events ↔ bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.probe_language import Asked, Ignored, Told, asked, catalogue
from tests.support.strategies import INT, MOMENTS, TEXT

from orderflow.messaging.errors import ConfigurationError, Poison, Unavailable
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.testing.registry import InMemoryRegistry

CATALOGUE = catalogue("probe")
TOPIC, SUBJECT = "probe", "probe-probe.Asked"
EVENT = asked("key-1", 7)
REGISTRY = InMemoryRegistry.holding(CATALOGUE)
ENCODER = Encoder.load(REGISTRY, CATALOGUE)
DECODER = Decoder(REGISTRY)
PAYLOAD = ENCODER.encode(TOPIC, EVENT)


@given(st.builds(Asked, id=TEXT, number=INT, behaviour=TEXT, at=MOMENTS))
def test_any_event_comes_back_as_it_was(event: Asked) -> None:
    assert DECODER.decode_as(ENCODER.encode(TOPIC, event), Asked) == event


def test_the_frame_is_confluents() -> None:
    schema_id = REGISTRY.id_of(SUBJECT, CATALOGUE.versions(Asked.type_name())[-1].text)
    assert schema_id is not None
    assert PAYLOAD[:5] == bytes([0]) + schema_id.to_bytes(4, "big")


def test_an_event_on_a_foreign_topic_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Told does not belong on topic probe"):
        ENCODER.encode(TOPIC, Told(id="key-1", number=7, at=EVENT.at))


def test_an_unregistered_schema_is_refused_at_start_with_what_to_do() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"is not registered under probe-probe\.Asked: run the registration",
    ):
        Encoder.load(InMemoryRegistry(), CATALOGUE)


def test_a_writer_needs_only_the_schemas_of_its_own_topics() -> None:
    registry = InMemoryRegistry()
    for name in CATALOGUE.types_on(TOPIC):
        registry.register(f"{TOPIC}-{name}", CATALOGUE.versions(name)[0].text)
    assert Encoder.load(registry, CATALOGUE, topics=[TOPIC]).encode(TOPIC, EVENT)


def test_without_its_registry_a_loaded_writer_and_a_reader_of_known_ids_go_on() -> None:
    registry = InMemoryRegistry.holding(CATALOGUE)
    encoder, warm, cold = Encoder.load(registry, CATALOGUE), Decoder(registry), Decoder(registry)
    warm.decode(PAYLOAD)
    registry.available = False
    assert warm.decode_as(encoder.encode(TOPIC, EVENT), Asked) == EVENT
    with pytest.raises(Unavailable):
        cold.decode(PAYLOAD)
    registry.available = True
    assert cold.decode_as(PAYLOAD, Asked) == EVENT


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
def test_whatever_the_body_holds_the_answer_is_an_event_or_poison(body: bytes) -> None:
    try:
        decoded = DECODER.decode_as(PAYLOAD[:5] + body, Asked)
    except Poison:
        return
    assert ENCODER.encode(TOPIC, decoded)


@given(st.integers(5, len(PAYLOAD) - 1), st.integers(0, 255))
def test_a_single_damaged_byte_never_raises_anything_but_poison(position: int, value: int) -> None:
    damaged = PAYLOAD[:position] + bytes([value]) + PAYLOAD[position + 1 :]
    try:
        DECODER.decode_as(damaged, Asked)
    except Poison:
        return


def test_an_event_of_another_type_is_poison_to_a_reader_that_wants_this_one() -> None:
    with pytest.raises(Poison, match=r"probe\.Asked, not a Ignored"):
        DECODER.decode_as(PAYLOAD, Ignored)


NO_AVRO = {
    "a JSON schema": '{"type": "object", "properties": {}}',
    "a reference to another schema": '{"type": "record", "name": "A", "fields": [{"name": "x", "type": "b.C"}]}',
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
    assert DECODER.type_of(PAYLOAD[:5] + b"junk") == "probe.Asked"
    with pytest.raises(Poison):
        DECODER.type_of(b"\1" + PAYLOAD[1:])
