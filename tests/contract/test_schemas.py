"""Types ≡ schemas, and every version ever committed stays readable."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import topic_of
from tests.support.examples import EXAMPLES
from tests.support.strategies import INT, LONG, MOMENTS, TEXT

from orderflow.cli.schemas import find_complaints
from orderflow.contracts.events import (
    EVENT_TYPES,
    Envelope,
    Event,
    Hourly,
    Notification,
    OrderCreated,
    OrderEvent,
    OrderLine,
    OrderStatus,
)
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku
from orderflow.contracts.schemas import CATALOGUE, DIRECTORY
from orderflow.messaging.listener import Publishable
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.conformity import mismatches
from orderflow.messaging.testing.registry import InMemoryRegistry

GOLDEN = Path(__file__).parent / "golden"

REGISTRY = InMemoryRegistry.holding(CATALOGUE)
ENCODER = Encoder.load(REGISTRY, CATALOGUE)
DECODER = Decoder(REGISTRY)

ORDERS_CREATED = st.builds(
    OrderCreated,
    order_id=TEXT.map(OrderId),
    customer_id=TEXT.map(CustomerId),
    version=INT,
    lines=st.lists(
        st.builds(OrderLine, sku=TEXT.map(Sku), quantity=INT, unit_price_minor=LONG), max_size=4
    ).map(tuple),
    amount_minor=LONG,
    currency=TEXT,
    payment_mode=TEXT,
    attempt=INT,
    payment_id=st.none() | TEXT.map(PaymentId),
    payment_method=st.none() | TEXT,
    occurred_at=MOMENTS,
)
ORDER_EVENTS = st.builds(
    OrderEvent,
    order_id=TEXT.map(OrderId),
    customer_id=TEXT.map(CustomerId),
    status=st.sampled_from(OrderStatus),
    description=TEXT,
    timestamp=MOMENTS,
    version=INT,
    previous_status=st.none() | st.sampled_from(OrderStatus),
    reason=st.none() | TEXT,
)

VERSIONS = [
    (name, schema.version) for name in CATALOGUE.types for schema in CATALOGUE.versions(name)
]


class Registered(InMemoryRegistry):
    """Knows one schema, under the id that the golden bytes carry."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def schema_text(self, schema_id: int) -> str | None:
        return self.text if schema_id == 1 else None


@pytest.mark.parametrize("type_name", EVENT_TYPES)
def test_type_and_schema_have_the_same_fields_in_the_same_order(type_name: str) -> None:
    assert mismatches(EVENT_TYPES[type_name], CATALOGUE.versions(type_name)[-1].text) == []


@pytest.mark.parametrize("event_type", EVENT_TYPES.values())
def test_every_event_says_first_whom_it_is_about_and_also_when_it_happened(
    event_type: type[Envelope],
) -> None:
    fields, event = event_type.__struct_fields__, EXAMPLES[event_type]
    assert event_type.TIME_FIELD in fields
    if issubclass(event_type, Event):
        assert fields[:2] == ("order_id", "customer_id")
        assert event.key == event.subject == event.order_id  # type: ignore[attr-defined]
    elif issubclass(event_type, Notification):
        assert fields[:2] == ("notification_id", "customer_id")
        assert event.key == event.customer_id  # type: ignore[attr-defined]
        assert event.subject == event.order_id  # type: ignore[attr-defined]
    elif issubclass(event_type, Hourly):
        assert fields[:2] == ("hour", "currency")
        assert event.key == event.subject == "2026-01-31T09:00:00Z/EUR"
    else:
        assert fields[0] == "customer_id"
        assert event.key == event.subject == event.customer_id  # type: ignore[attr-defined]
    assert event.happened_at == getattr(event, event_type.TIME_FIELD)
    assert isinstance(event, Publishable)


def test_the_offline_check_has_no_complaint() -> None:
    assert find_complaints(CATALOGUE, DIRECTORY) == []


def test_a_type_that_drifts_from_its_schema_is_told_by_field() -> None:
    text = CATALOGUE.versions("orderflow.OrderCreated")[-1].text
    assert mismatches(
        OrderCreated, text.replace('"attempt", "type": "int"', '"attempt", "type": "string"')
    ) == ["OrderCreated.attempt: the type is int, the schema has string"]
    assert mismatches(OrderEvent, text)


@pytest.mark.parametrize(("type_name", "version"), VERSIONS)
def test_golden_bytes_of_every_version_stay_readable(type_name: str, version: int) -> None:
    short = type_name.rpartition(".")[2]
    payload = bytes.fromhex((GOLDEN / short / f"{version}.hex").read_text())
    expected = msgspec.json.decode(
        (GOLDEN / short / f"{version}.json").read_text(), type=EVENT_TYPES[type_name]
    )
    decoder = Decoder(Registered(CATALOGUE.versions(type_name)[version - 1].text))
    assert decoder.decode_as(payload, EVENT_TYPES[type_name]) == expected


@pytest.mark.parametrize(
    "event", EXAMPLES.values(), ids=[event_type.__name__ for event_type in EXAMPLES]
)
def test_what_is_written_today_is_byte_for_byte_the_newest_golden_record(event: Envelope) -> None:
    type_name = event.type_name()
    newest = GOLDEN / type(event).__name__ / f"{CATALOGUE.versions(type_name)[-1].version}.hex"
    assert ENCODER.encode(topic_of(event), event)[5:] == bytes.fromhex(newest.read_text())[5:]


def test_every_schema_stands_alone_in_the_namespace() -> None:
    for type_name in CATALOGUE.types:
        for schema in CATALOGUE.versions(type_name):
            assert json.loads(schema.text)["namespace"] == "orderflow"


@given(ORDERS_CREATED)
def test_any_order_created_comes_back_as_it_was(event: OrderCreated) -> None:
    assert DECODER.decode_as(ENCODER.encode("orders", event), OrderCreated) == event


@given(ORDER_EVENTS)
def test_any_order_event_comes_back_as_it_was(event: OrderEvent) -> None:
    assert DECODER.decode_as(ENCODER.encode("order-events", event), OrderEvent) == event
