"""The payload of a dead letter: its event, or why it is none."""

from __future__ import annotations

import pytest
from tests.unit.messaging.schemas.parcels import CATALOGUE, SHIPPED

from orderflow.messaging.dead_letters.payload import payload_of
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.testing.registry import InMemoryRegistry

REGISTRY = InMemoryRegistry.holding(CATALOGUE)
VALUE = Encoder.load(REGISTRY, CATALOGUE).encode("parcels", SHIPPED)
NAME = "shop.ParcelShipped"


def test_an_event_of_ours_is_decoded() -> None:
    payload = payload_of(VALUE, Decoder(REGISTRY), {NAME})
    assert (payload.type, payload.problem) == (NAME, None)
    assert payload.value is not None
    assert payload.value["parcelId"] == SHIPPED.parcel_id


@pytest.mark.parametrize("raw", [None, b"", b"\xff", b"\x00\x00\x00\x00\x63", VALUE[:3]])
def test_what_is_no_record_of_ours_has_no_type_and_says_why(raw: bytes | None) -> None:
    payload = payload_of(raw, Decoder(REGISTRY), {NAME})
    assert (payload.type, payload.value) == (None, None)
    assert payload.problem


def test_a_body_that_ends_too_early_has_its_type_and_says_why() -> None:
    payload = payload_of(VALUE[:-1], Decoder(REGISTRY), {NAME})
    assert (payload.type, payload.value) == (NAME, None)
    assert f"can't be read as {NAME}" in (payload.problem or "")


def test_a_type_of_strangers_is_named_and_its_body_is_left_alone() -> None:
    payload = payload_of(VALUE, Decoder(REGISTRY), {"shop.Another"})
    assert (payload.type, payload.value) == (NAME, None)
    assert "is no event of ours" in (payload.problem or "")


def test_while_the_registry_is_away_that_is_the_problem() -> None:
    registry = InMemoryRegistry.holding(CATALOGUE)
    registry.available = False
    payload = payload_of(VALUE, Decoder(registry), {NAME})
    assert (payload.type, payload.value) == (None, None)
    assert "ask again later" in (payload.problem or "")
