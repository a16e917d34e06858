"""Placing an order: the order, its history entry and both events agree."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from orderflow.contracts.events import OrderCreated, OrderEvent, PaymentMode
from orderflow.contracts.ids import CustomerId, Sku
from orderflow.messaging.event import rfc3339_ms
from orderflow.services.order.changes import Origin
from orderflow.services.order.commands import PlacedOrder, PlaceOrder, place_order
from orderflow.services.order.model import Product, RequestedLine, UnknownSku

MOUSE = Product(sku=Sku("MOUSE"), name="Mouse", prices={"EUR": 3_490})
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLACE = PlaceOrder(
    customer_id=CustomerId("customer-123"),
    lines=(RequestedLine(sku=MOUSE.sku, quantity=2),),
    currency="EUR",
    mode=PaymentMode.AUTOMATIC,
    payment_method="pm_ok",
    origin=Origin(type="command", id="place", traceparent=TRACEPARENT),
)


def run(command: PlaceOrder) -> tuple[PlacedOrder, dict[str, msgspec.Struct]]:
    """What was placed, and the event on each topic."""
    events: dict[str, msgspec.Struct] = {}

    def encode(topic: str, event: msgspec.Struct) -> bytes:
        events[topic] = event
        return topic.encode()

    return place_order(command, catalogue={MOUSE.sku: MOUSE}, encode=encode), events


def test_a_new_order_has_an_event_on_each_topic() -> None:
    """OrderCreated on `orders`, version 1 on `order-events`, both with the order's id as key."""
    placed, events = run(PLACE)
    assert [(row.topic, row.metadata.type) for row in placed.outbox] == [
        ("orders", "orderflow.OrderCreated"),
        ("order-events", "orderflow.OrderEvent"),
    ]
    for row in placed.outbox:
        assert row.payload == row.topic.encode()
        order_id = placed.order.order_id
        assert row.key == row.metadata.subject == row.metadata.correlation_id == order_id
    assert isinstance(events["orders"], OrderCreated)
    assert isinstance(events["order-events"], OrderEvent)


def test_both_events_say_what_the_order_says() -> None:
    placed, events = run(PLACE)
    order, created, change = placed.order, events["orders"], events["order-events"]
    assert isinstance(created, OrderCreated)
    assert isinstance(change, OrderEvent)

    assert (created.order_id, created.customer_id, created.lines) == (
        order.order_id,
        order.customer_id,
        order.lines,
    )
    assert (created.amount_minor, created.currency) == (2 * 3_490, "EUR")
    assert (created.attempt, created.payment_id) == (1, order.payment.payment_id)
    assert (created.payment_mode, created.payment_method) == ("AUTOMATIC", "pm_ok")
    assert (change.status, change.version, change.previous_status, change.reason) == (
        "CREATED",
        1,
        None,
        None,
    )
    assert change.version == created.version == order.version


def test_an_order_on_request_announces_no_payment() -> None:
    _, events = run(
        msgspec.structs.replace(PLACE, mode=PaymentMode.ON_REQUEST, lines=(), payment_method=None)
    )
    created = events["orders"]
    assert isinstance(created, OrderCreated)
    assert (created.attempt, created.payment_id, created.payment_method, created.amount_minor) == (
        0,
        None,
        None,
        0,
    )


def test_one_reading_of_the_clock_in_milliseconds_is_every_time_of_the_act() -> None:
    before = datetime.now(UTC)
    placed, events = run(PLACE)

    moment = placed.order.created_at
    assert moment.microsecond % 1000 == 0
    assert before.timestamp() - 0.001 <= moment.timestamp() <= datetime.now(UTC).timestamp()
    created, change = events["orders"], events["order-events"]
    assert isinstance(created, OrderCreated)
    assert isinstance(change, OrderEvent)
    assert {
        moment,
        placed.order.updated_at,
        placed.entry.occurred_at,
        created.occurred_at,
        change.timestamp,
    } == {moment}
    assert {rfc3339_ms(row.metadata.time) for row in placed.outbox} == {rfc3339_ms(moment)}


def test_events_of_a_request_start_a_chain() -> None:
    """New ids (UUIDv7), no causation id, and the client's trace."""
    (first, _), (second, _) = run(PLACE), run(PLACE)
    rows = [*first.outbox, *second.outbox]
    assert len({row.metadata.id for row in rows}) == 4
    for row in rows:
        assert row.metadata.id.version == 7
        assert row.metadata.causation_id is None
        assert row.metadata.source == "/orderflow/order"
        assert row.metadata.traceparent == TRACEPARENT
    assert first.order.order_id < second.order.order_id


def test_the_history_entry_names_the_event_on_order_events() -> None:
    placed, _ = run(PLACE)
    assert placed.entry.event_id == placed.outbox[1].metadata.id
    assert (placed.entry.revision, placed.entry.version, placed.entry.status) == (1, 1, "CREATED")


def test_an_order_that_breaks_a_rule_is_not_placed() -> None:
    unknown = msgspec.structs.replace(PLACE, lines=(RequestedLine(sku=Sku("ANVIL"), quantity=1),))
    with pytest.raises(UnknownSku):
        run(unknown)
