"""
Milestone 5, poison: whatever anybody writes to a topic, each group that hears it has it among its
dead letters, as it was and with the evidence; its neighbours do not notice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import cycle, zip_longest
from typing import Any

import msgspec
import pytest
from tests.support import raw_producer
from tests.support.all_services import AllServices, all_services_running
from tests.support.builders import (
    an_order,
    life,
    new_order_id,
    paid,
    payment_failed,
    payment_requested,
    refunded,
    rejected,
    reserved,
    shipped,
    status_changed,
)
from tests.support.poison import (
    BEYOND_A_PRODUCER,
    CUT,
    DAMAGED_BODIES,
    KINDS,
    NO_UTF8,
    Raw,
    register_foreign,
    register_twin,
)
from tests.support.records import headers
from tests.support.stack import OwnStack

from orderflow.contracts.events import Event, OrderCreated, OrderStatus
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.contracts.roster import GROUPS, subscribed
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS, SOURCES
from orderflow.messaging import event as names
from orderflow.messaging.event import CE_TYPE
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.listener import Listener
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.services.asyncapi import listeners

POISON = "orderflow.messaging.errors.Poison"
UNKNOWN_ORDER = "orderflow.services.order.handlers.UnknownOrder"
NOTHING_RESERVED = "orderflow.services.inventory.model.NothingReserved"
CONTRADICTION = "orderflow.services.fulfilment.model.Contradiction"
NO_UUID = "psycopg.errors.InvalidTextRepresentation"
ATTEMPTS_MAX = 3

PAYMENT, INVENTORY_GROUP, ORDER = "payment-service", "inventory-service", "order-service"
FULFILMENT = "order-processor"
INPUTS = (ORDERS, PAYMENTS, INVENTORY, ORDER_EVENTS)
SENT = new_order_id()
"""An order that only the feed knows."""

PAID, DECLINED, SHORT = (
    ("PAID", "SUCCEEDED", "RESERVED"),
    ("CREATED", "FAILED", "NONE"),
    ("CANCELLED", "REFUNDED", "REJECTED"),
)
BODIES: dict[tuple[str, str, str], dict[str, Any]] = {
    PAID: {},
    DECLINED: {"paymentMethod": "pm_declined"},
    SHORT: {"lines": [{"sku": "DESK-160", "quantity": 1}]},
}
ORDERS_EVERY = 4
"""Bad records between two real orders."""

Place = tuple[str, int, int]
"""Topic, partition, offset."""

Verdict = tuple[str, int]
"""The exception's class, and after how many attempts."""

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Bad:
    """What is sent, what its name in a failure is, and which groups must find it bad, and how."""

    kind: str
    topic: str
    raw: Raw
    dead_for: dict[str, Verdict]


@dataclass
class Flood:
    """Bad records on every topic between real orders."""

    services: AllServices
    registry_url: str
    places: dict[Place, Bad] = field(default_factory=dict)
    orders: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, tuple[Topic, ...]]:
        """The topics that each running group consumes."""
        return {service.group: GROUPS[service.group] for service in self.services.each}

    @cached_property
    def listeners(self) -> dict[str, Listener]:
        return {listener.group: listener for listener in listeners()}

    @cached_property
    def handled(self) -> dict[str, set[str]]:
        """The types that each group handles, by its service's own table."""
        return {group: set(listener.types) for group, listener in self.listeners.items()}

    def hearing(self, topic: str) -> list[str]:
        return [
            group
            for group, topics in self.groups.items()
            if topic in {consumed.name for consumed in topics}
        ]

    @cached_property
    def encoder(self) -> Encoder:
        registry = Registry(RegistrySettings(url=self.registry_url))
        try:
            return Encoder.load(registry, CATALOGUE, [topic.name for topic in INPUTS])
        finally:
            registry.close()

    @cached_property
    def schemas(self) -> dict[str, int]:
        return register_foreign(self.registry_url)

    @cached_property
    def producer(self) -> clients.Producer:
        """It sends what none of ours would."""
        most = {"message.max.bytes": 2 * BEYOND_A_PRODUCER}
        return clients.producer(self.services.order.kafka, **{"linger.ms": 5, **most})

    def place_order(self, end: tuple[str, str, str]) -> None:
        [order] = self.services.place(1, **BODIES[end])
        self.orders[order] = end

    def kind_of(self, place: Place) -> str:
        bad = self.places.get(place)
        return f"{place}: {bad.kind if bad else 'a good record'}"

    def outcome(self, record: ConsumerRecord, bad: Bad | None, group: str, decoder: Decoder) -> str:
        """How `group` must have counted a record."""
        if bad is not None and group in bad.dead_for:
            return "dead"
        listener = self.listeners[group]
        event_type = listener.types.get((dict(record.headers)[CE_TYPE] or b"").decode())
        if event_type is None:
            return "skipped"
        if listener.wanted is None:
            return "handled"
        wanted = listener.wanted(decoder.decode_as(record.value, event_type))
        return "handled" if wanted else "skipped"

    def good(self, topic: str, event: Event, *, key: str | None = None) -> Raw:
        """
        A record of an order that nobody placed, under a real one's key: it is in that one's way.
        """
        foreign_topic, foreign = FOREIGN[topic], GOOD[FOREIGN[topic]](an_order())
        foreign_value = self.encoder.encode(foreign_topic, foreign)
        return Raw(
            key=(key or event.key).encode(),
            value=self.encoder.encode(topic, event),
            headers=tuple(headers(event, source=SOURCES[topic])),
            another=self.encoder.encode(topic, ANOTHER[topic](an_order()))
            if topic in ANOTHER
            else foreign_value,
            foreign=foreign_value,
            foreign_type=foreign.type_name(),
            schemas=self.schemas,
        )

    def bad(self, topic: str) -> Iterator[Bad]:
        """Every kind, for this topic."""
        hearing = dict.fromkeys(self.hearing(topic), (POISON, 0))
        event = GOOD[topic](an_order())
        reading = {
            group: verdict
            for group, verdict in hearing.items()
            if event.type_name() in self.handled[group]
        }
        keys = cycle(list(self.orders))
        for kind, spoil in KINDS.items():
            good = self.good(topic, GOOD[topic](an_order()), key=next(keys))
            yield Bad(kind, topic, spoil(good), reading if kind in DAMAGED_BODIES else hearing)
        twin = register_twin(self.registry_url, event.type_name())
        good = self.good(topic, event, key=next(keys))
        twins_value = b"\0" + twin.to_bytes(4, "big") + b"\x04no"
        yield Bad(
            "only the name of the type is right",
            topic,
            replace(good, value=twins_value),
            reading,
        )
        for kind, event, dead_for in told_by_handlers(topic):
            yield Bad(kind, topic, self.good(topic, event), dead_for)

    def send(self, bad: Bad) -> None:
        def placed(error: object, message: object) -> None:
            assert error is None, f"{bad.kind}: {error}"
            self.places[message.topic(), message.partition(), message.offset()] = bad  # type: ignore[attr-defined]

        self.producer.produce(
            bad.topic,
            bad.raw.value,
            bad.raw.key,
            headers=list(bad.raw.headers) or None,
            on_delivery=placed,
        )
        self.producer.poll(0)

    def send_unreadable_header(self, topic: str) -> None:
        """Our client can't write such a name, and not read it either."""
        good = self.good(topic, GOOD[topic](an_order()), key=next(iter(self.orders)))
        headers = [
            *((name.encode(), value or b"") for name, value in good.headers),
            (NO_UTF8, b"x"),
        ]
        assert good.key
        raw_producer.produce(
            self.services.order.kafka.bootstrap_servers,
            topic,
            key=good.key,
            value=good.good,
            headers=headers,
        )
        # Acknowledged is not readable: a relay's transaction may be open before the record.
        [record] = eventually(
            lambda: [
                record
                for record in self.services.order.records(topic)
                if record.value == good.value
            ],
            within_s=30,
            why=f"the record is readable on {topic}",
        )
        hearing = dict.fromkeys(self.hearing(topic), (POISON, 0))
        bad = Bad("the name of a header is no UTF-8", topic, replace(good, headers=()), hearing)
        self.places[place_of(record)] = bad


GOOD: dict[str, Callable[[OrderCreated], Event]] = {
    ORDERS.name: lambda order: order,
    PAYMENTS.name: paid,
    INVENTORY.name: reserved,
    ORDER_EVENTS.name: lambda order: status_changed(order, OrderStatus.CREATED, version=1),
}
ANOTHER: dict[str, Callable[[OrderCreated], Event]] = {
    ORDERS.name: lambda order: payment_requested(order, 2),
    PAYMENTS.name: refunded,
    INVENTORY.name: rejected,
}
"""Where a topic has another type."""
FOREIGN = {
    ORDERS.name: PAYMENTS.name,
    PAYMENTS.name: INVENTORY.name,
    INVENTORY.name: ORDER_EVENTS.name,
    ORDER_EVENTS.name: ORDERS.name,
}


def told_by_handlers(topic: str) -> list[tuple[str, Event, dict[str, Verdict]]]:
    """
    Well-formed, and wrong all the same: who handles that type says so, at once or after the last
    attempt.
    """
    nobody, no_uuid = an_order(), an_order(OrderId("no-uuid"))
    once, thrice = 1, ATTEMPTS_MAX
    match topic:
        case ORDERS.name:
            return [
                (
                    "another's payment",
                    msgspec.structs.replace(an_order(), payment_id=nobody.payment_id),
                    {PAYMENT: (POISON, once)},
                ),
                ("an order that is no UUID", no_uuid, {PAYMENT: (NO_UUID, thrice)}),
                (
                    "shipped, but never reserved",
                    shipped(nobody),
                    {INVENTORY_GROUP: (NOTHING_RESERVED, thrice)},
                ),
            ]
        case PAYMENTS.name:
            return [
                ("nobody's order", payment_failed(nobody), {ORDER: (UNKNOWN_ORDER, thrice)}),
                ("an order that is no UUID", payment_failed(no_uuid), {ORDER: (NO_UUID, thrice)}),
            ]
        case ORDER_EVENTS.name:
            sent, again = life([OrderStatus.SHIPPED, OrderStatus.PAID], order_id=SENT)
            return [
                ("sent, though nobody ordered it", sent, {}),
                ("to be packed, though it is sent", again, {FULFILMENT: (CONTRADICTION, once)}),
            ]
        case _:
            return [
                ("nobody's order", GOOD[topic](nobody), {ORDER: (UNKNOWN_ORDER, thrice)}),
                ("an order that is no UUID", GOOD[topic](no_uuid), {ORDER: (NO_UUID, thrice)}),
            ]


@pytest.fixture(scope="module")
def services(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AllServices]:
    with all_services_running(own_stack, tmp_path_factory.mktemp("services")) as services:
        yield services


def test_each_group_has_exactly_its_share_of_the_poison_and_neighbours_do_not_notice(
    services: AllServices, own_stack: OwnStack
) -> None:
    assert len(KINDS) >= 50
    flood = Flood(services=services, registry_url=own_stack.registry_url)
    for end in BODIES:
        flood.place_order(end)
    ends = cycle(BODIES)
    for number, together in enumerate(zip_longest(*(flood.bad(topic.name) for topic in INPUTS))):
        for bad in filter(None, together):
            flood.send(bad)
        if number % ORDERS_EVERY == 0:
            flood.place_order(next(ends))
    for topic in INPUTS:
        flood.send_unreadable_header(topic.name)
    flood.place_order(PAID)
    assert flood.producer.flush(30) == 0

    eventually(
        lambda: services.ends(list(flood.orders)) == list(flood.orders.values()),
        within_s=60,
        every_s=0.5,
        why="all end",
    )
    services.eventually_caught_up()
    behind = lags(services.order.kafka, {group: subscribed(group) for group in flood.groups})
    assert {(lag.group, lag.topic): lag for lag in behind if lag.records} == {}

    assert_dead_letters(flood)
    assert_counted(flood)
    assert_neighbours_effects(flood)
    for process in services.running.values():
        assert process.ready(), process.reasons


def assert_dead_letters(flood: Flood) -> None:
    sent = {
        place_of(record): record
        for topic in INPUTS
        for record in flood.services.order.records(topic.name)
    }
    for place, bad in flood.places.items():
        kept = sent[place]
        assert (kept.key, kept.value, tuple(kept.headers)) == (
            bad.raw.key,
            bad.raw.value,
            bad.raw.headers,
        ), bad.kind
    for group, topics in flood.groups.items():
        for topic in topics:
            dead = flood.services.order.records(dead_letter_topic(topic, group).name)
            share = {place: bad for place, bad in flood.places.items() if place[0] == topic.name}
            share = {place: bad for place, bad in share.items() if group in bad.dead_for}
            assert share
            places = Counter(told_place(places) for places in dead)
            assert {flood.kind_of(place): count for place, count in places.items()} == {
                flood.kind_of(place): 1 for place in share
            }, f"the dead letters of {group} for {topic.name}"
            for letter in dead:
                bad = share[told_place(letter)]
                assert_letter(letter, sent[told_place(letter)], group=group, bad=bad)


def assert_letter(
    letter: ConsumerRecord, original: ConsumerRecord, *, group: str, bad: Bad
) -> None:
    why = f"{bad.kind} on {bad.topic} for {group}"
    own = assert_own_parts(letter, original, bad, why)
    added = dict(letter.headers[own:])
    assert len(added) == len(letter.headers) - own, why
    exception, attempts = bad.dead_for[group]
    stamp_ms = int(original.timestamp.timestamp() * 1000 + 0.5)
    evidence = {
        names.DLT_ORIGINAL_TOPIC: original.topic.encode(),
        names.DLT_ORIGINAL_PARTITION: original.partition.to_bytes(4, "big"),
        names.DLT_ORIGINAL_OFFSET: original.offset.to_bytes(8, "big"),
        names.DLT_ORIGINAL_TIMESTAMP: stamp_ms.to_bytes(8, "big"),
        names.DLT_ORIGINAL_TIMESTAMP_TYPE: b"CreateTime",
        names.DLT_ORIGINAL_CONSUMER_GROUP: group.encode(),
        names.DLT_EXCEPTION_FQCN: exception.encode(),
        names.RETRY_ATTEMPTS: attempts.to_bytes(4, "big"),
        names.REPLAY_COUNT: b"0",
    }
    assert {name: added.get(name) for name in evidence} == evidence, why
    assert added[names.DLT_EXCEPTION_MESSAGE], why
    assert exception.rpartition(".")[2].encode() in (
        added[names.DLT_EXCEPTION_STACKTRACE] or b""
    ), why
    first, last = (
        datetime.fromisoformat((added[name] or b"").decode())
        for name in (names.FIRST_FAILURE_TIME, names.LAST_FAILURE_TIME)
    )
    assert (first < last) == (attempts == ATTEMPTS_MAX), why


def assert_own_parts(letter: ConsumerRecord, original: ConsumerRecord, bad: Bad, why: str) -> int:
    """How many headers of the original the letter has: all, unless it had to be cut."""
    cut = CUT.get(bad.kind, b"")
    said = dict(letter.headers)
    assert said.get(names.LETTER_CUT, b"") == cut, why
    key, value = letter.key or b"", letter.value or b""
    if cut == b"key":
        assert key, why
        assert (original.key or b"").startswith(key), why
        assert said[names.ORIGINAL_KEY_SIZE] == str(len(original.key or b"")).encode(), why
    else:
        assert letter.key == original.key, why
    if cut == b"value":
        assert value, why
        assert (original.value or b"").startswith(value), why
        assert said[names.ORIGINAL_SIZE] == str(len(original.value or b"")).encode(), why
    else:
        assert letter.value == original.value, why

    own = len(original.headers)
    if cut == b"headers":
        assert said[names.ORIGINAL_HEADERS] == str(own).encode(), why
        own = next(
            i for i, (a, b) in enumerate(zip_longest(letter.headers, original.headers)) if a != b
        )
        assert own > 0, why
    assert letter.headers[:own] == original.headers[:own], why
    return own


def assert_counted(flood: Flood) -> None:
    """
    A legal type that a group does not handle is skipped, not dead, and each record counts once.
    """
    wanted: dict[str, Counter[str]] = {group: Counter() for group in flood.groups}
    with closing(Registry(RegistrySettings(url=flood.registry_url))) as registry:
        decoder = Decoder(registry)
        for topic in INPUTS:
            for record in flood.services.order.records(topic.name):
                bad = flood.places.get(place_of(record))
                for group in flood.hearing(topic.name):
                    wanted[group][flood.outcome(record, bad, group, decoder)] += 1
    assert {
        group: process.outcomes for group, process in flood.services.listeners.items()
    } == wanted
    assert wanted[PAYMENT]["skipped"]
    assert wanted[INVENTORY_GROUP]["skipped"]


def assert_neighbours_effects(flood: Flood) -> None:
    """All of the real orders', and none of the others'."""
    services, ends = flood.services, Counter(flood.orders.values())
    services.payment.assert_ledgers_agree()
    charged = {
        payment_id(OrderId(order), 1) for order, end in flood.orders.items() if end != DECLINED
    }
    assert set(services.payment.psp.captures()) - {"probe"} == charged
    assert services.inventory.rows("SELECT sku, reserved FROM stock WHERE reserved > 0") == [
        ("MOUSE-01", 2 * ends[PAID])
    ]
    for service, table in ((services.order, "orders"), (services.payment.service, "payment")):
        known = {row[0] for row in service.rows(f"SELECT DISTINCT order_id::text FROM {table}")}
        assert known == set(flood.orders), table
    mails = services.notification.service.rows(
        "SELECT order_id FROM delivery WHERE kind = 'ORDER_CREATED' AND state = 'SENT'"
    )
    assert {order for (order,) in mails} >= set(flood.orders)
    shipments = {
        str(order): status
        for order, status in services.fulfilment.rows("SELECT order_id, status FROM shipment")
        # Stock that was reserved for an order that nobody knows: fulfilment waits to hear of it.
        if status != "WAITING"
    }
    assert shipments.pop(SENT) == "TRACKED"
    assert {
        order for (order,) in services.analytics.rows("SELECT order_id FROM followed_order")
    } == {
        SENT,
        *flood.orders,
    }
    called = {PAID: "PREPARED", SHORT: "CALLED_OFF"}
    assert shipments == {order: called[end] for order, end in flood.orders.items() if end in called}


def place_of(record: ConsumerRecord) -> Place:
    return record.topic, record.partition, record.offset


def told_place(letter: ConsumerRecord) -> Place:
    """Where it says it comes from."""
    evidence = {name: value or b"" for name, value in letter.headers}
    return (
        evidence[names.DLT_ORIGINAL_TOPIC].decode(),
        int.from_bytes(evidence[names.DLT_ORIGINAL_PARTITION], "big"),
        int.from_bytes(evidence[names.DLT_ORIGINAL_OFFSET], "big"),
    )
