"""
Milestone 4, the order of facts: payment and stock are told on two topics, so an order hears of
them in any order, late or again. Its end is the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from uuid import UUID, uuid4

import httpx2
import pytest
from tests.support.all_services import AllServices, all_services_running
from tests.support.builders import topic_of
from tests.support.fact_schedules import CANCEL, END_OF, fact, schedules
from tests.support.order_service import OrderService, order_deployed
from tests.support.service import Service
from tests.support.stack import OwnStack, Stack

from orderflow.contracts.events import (
    EVENT_TYPES,
    Envelope,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    PaymentSucceeded,
)
from orderflow.contracts.roster import GROUPS
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import CE_ID, from_headers
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.reader import ConsumerRecord, end_offsets, read
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.services.order.rules import Fact

HEARS = (PAYMENTS.name, INVENTORY.name)
Starts = dict[str, dict[int, int]]


@dataclass
class Heard:
    """The order service alone, as processes; its neighbours' facts come from the test."""

    deployed: OrderService
    service: Service
    api: httpx2.Client
    since: Starts
    decoder: Decoder
    facts: list[tuple[str, Fact, UUID]] = field(default_factory=list)

    def place(self, count: int) -> list[OrderCreated]:
        body = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 2}]}
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda _: self.api.post("/orders", json=body), range(count)))
        assert {answer.status_code for answer in answers} == {201}
        placed = [answer.json()["orderId"] for answer in answers]
        created: dict[str, OrderCreated] = {}

        def all_there() -> bool:
            created.update(
                {
                    event.order_id: event
                    for event in self.told(ORDERS.name)
                    if isinstance(event, OrderCreated)
                }
            )
            return created.keys() >= set(placed)

        eventually(all_there, within_s=60, every_s=0.5, why="every order is on the topic")
        return [created[order_id] for order_id in placed]

    def say(self, event: Fact, *, event_id: UUID | None = None) -> None:
        chosen = event_id or uuid4()
        self.facts.append((topic_of(event), event, chosen))
        self.service.send(topic_of(event), event, event_id=chosen)

    def cancel(self, orders: Sequence[OrderCreated]) -> None:
        with ThreadPoolExecutor(4) as clients:
            answers = list(
                clients.map(lambda order: self.api.post(f"/orders/{order.order_id}/cancel"), orders)
            )
        for answer in answers:
            assert answer.status_code == 200 or answer.json()["orderStatus"] == "CANCELLED", (
                answer.text
            )

    def everything_heard(self) -> None:
        self.service.flush()
        self.service.eventually_caught_up()

    def records(self, topic: str) -> list[ConsumerRecord]:
        records = read(self.deployed.kafka, topic, start=self.since[topic], follow=False)
        return [record for record in records if record is not None]

    def told(self, topic: str) -> list[Envelope]:
        return [
            self.decoder.decode_as(record.value, EVENT_TYPES[from_headers(record.headers).type])
            for record in self.records(topic)
        ]

    def rows(self) -> list[list[tuple[object, ...]]]:
        return [
            sorted(self.service.rows(f"SELECT {table}::text FROM {table}"))
            for table in ("orders", "order_history", "outbox")
        ]

    def relayed(self) -> bool:
        [(rows,)] = self.service.rows("SELECT count(*) FROM outbox")
        return rows == len(self.records(ORDERS.name)) + len(self.records(ORDER_EVENTS.name))


@pytest.fixture(scope="module")
def heard(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    logs = tmp_path_factory.mktemp("order")
    with order_deployed(stack, logs) as deployed:
        service = Service(
            stack=stack,
            name="order",
            group="order-service",
            consumes=HEARS,
            logs=logs,
            database_url=deployed.database_url,
            running=deployed.running,
        )
        dead = [dead_letter_topic(topic, "order-service").name for topic in GROUPS["order-service"]]
        since = {
            name: end_offsets(deployed.kafka, name)
            for name in (ORDERS.name, ORDER_EVENTS.name, *dead)
        }
        processes = [
            service.start("api,relay"),
            service.start("listener", slot=0),
            service.start("listener", slot=1),
        ]
        registry = Registry(RegistrySettings(url=stack.registry_url))
        heard = Heard(
            deployed=deployed,
            service=service,
            api=processes[0].client,
            since=since,
            decoder=Decoder(registry),
        )
        yield heard
        registry.close()
        assert [heard.records(name) for name in dead] == [[], []], "a fact became a dead letter"
        for process in processes:
            assert process.terminate() == 0, process.log.read_text()


def test_facts_of_500_orders_in_every_interleaving_through_kafka_end_the_same(
    heard: Heard,
) -> None:
    plans = schedules()
    assert len(plans) >= 500
    orders = heard.place(len(plans))
    for steps in zip_longest(*plans):
        now = [(order, step) for order, step in zip(orders, steps, strict=True) if step is not None]
        for order, step in now:
            if step != CANCEL:
                heard.say(fact(step, order))
        heard.cancel([order for order, step in now if step == CANCEL])
        heard.everything_heard()
    assert_same_end(heard, orders, [END_OF[frozenset(plan)] for plan in plans])

    before = heard.rows()
    for topic, event, event_id in list(heard.facts):
        heard.service.send(topic, event, event_id=event_id)
        heard.service.send(topic, event)
    heard.everything_heard()
    assert heard.rows() == before, "repeats have no effect"


def test_facts_of_500_orders_all_at_once_lead_to_the_same_end(heard: Heard) -> None:
    """Two topics and two workers: nobody says what comes first, and each fact comes twice."""
    sets = [
        {"succeeded", "reserved"},
        {"succeeded", "rejected"},
        {"failed", "succeeded again", "reserved again"},
        {"failed"},
    ]
    ends = [
        ("PAID", "SUCCEEDED", "RESERVED"),
        ("CANCELLED", "SUCCEEDED", "REJECTED"),
        ("PAID", "SUCCEEDED", "RESERVED"),
        ("CREATED", "FAILED", "NONE"),
    ]
    orders = heard.place(500)
    said = [
        fact(step, order)
        for number, order in enumerate(orders)
        for step in sorted(sets[number % 4])
    ]
    for event in said + said[::-1]:
        heard.say(event)
    heard.everything_heard()
    assert_same_end(heard, orders, [ends[number % 4] for number in range(len(orders))])


def assert_same_end(
    heard: Heard, orders: Sequence[OrderCreated], ends: Sequence[tuple[str, str, str]]
) -> None:
    """
    As rows and on the topics: versions are gapless and in order, and a refund is asked for where
    it belongs.
    """
    mine = {order.order_id for order in orders}
    rows = heard.service.rows(
        "SELECT order_id::text, version, status, payment_state, stock FROM orders"
    )
    ours = [row for row in rows if row[0] in mine]
    versions = {order_id: version for order_id, version, *_ in ours}
    assert {order_id: tuple(end) for order_id, _, *end in ours} == {
        order.order_id: end for order, end in zip(orders, ends, strict=True)
    }
    eventually(heard.relayed, within_s=60, every_s=0.5, why="the whole outbox is on the topics")
    changes = defaultdict(list)
    for event in heard.told(ORDER_EVENTS.name):
        if isinstance(event, OrderEvent) and event.order_id in mine:
            changes[event.order_id].append(event)
    assert {key: [events.version for events in events] for key, events in changes.items()} == {
        key: [*range(1, int(str(version)) + 1)] for key, version in versions.items()
    }
    assert {key: events[-1].status for key, events in changes.items()} == {
        key: status for key, _, status, *_ in ours
    }
    refunds = (event for event in heard.told(ORDERS.name) if isinstance(event, OrderCancelled))
    cancelled = Counter(event.order_id for event in refunds if event.order_id in mine)
    assert cancelled == Counter(
        order.order_id for order, end in zip(orders, ends, strict=True) if end[0] == "CANCELLED"
    )
    ids = [
        dict(record.headers)[CE_ID]
        for name in (ORDERS.name, ORDER_EVENTS.name)
        for record in heard.records(name)
    ]
    assert len(set(ids)) == len(ids), "an event was published twice"


@pytest.fixture(scope="module")
def services(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AllServices]:
    with all_services_running(own_stack, tmp_path_factory.mktemp("services")) as services:
        yield services


def test_neither_an_order_replayed_after_its_end_nor_its_payment_does_anything_again(
    services: AllServices,
) -> None:
    kept, given_up, declined = (
        services.place(5),
        services.place(5),
        services.place(5, paymentMethod="pm_declined"),
    )
    short = services.place(
        5, lines=[{"sku": "DESK-160", "quantity": 1}, {"sku": "MOUSE-01", "quantity": 1}]
    )
    eventually(
        lambda: services.ends(kept + given_up) == [("PAID", "SUCCEEDED", "RESERVED")] * 10,
        within_s=60,
        every_s=0.5,
    )
    for order in given_up:
        assert (
            services.api.post(
                f"/orders/{order}/cancel", params={"customerId": "customer-123"}
            ).status_code
            == 200
        )
    ends = {
        ("PAID", "SUCCEEDED", "RESERVED"): kept,
        ("CANCELLED", "REFUNDED", "RELEASED"): given_up,
        ("CREATED", "FAILED", "NONE"): declined,
        ("CANCELLED", "REFUNDED", "REJECTED"): short,
    }
    for end, orders in ends.items():
        eventually(
            lambda o=orders, e=end: services.ends(o) == [e] * 5,  # type: ignore[misc]
            within_s=60,
            every_s=0.5,
            why=str(end),
        )
    services.eventually_caught_up()
    before, mails = services.effects(), services.notification.mail.totals()
    services.payment.assert_ledgers_agree()
    [(reserved,)] = services.inventory.rows("SELECT reserved FROM stock WHERE sku = 'MOUSE-01'")
    assert reserved == 2 * len(kept), "two pieces for each order that was kept, and for no other"

    for fresh_id in (False, True):
        for order in kept + given_up + declined + short:
            services.replay(
                ORDERS.name, services.record_of(ORDERS.name, order, OrderCreated), fresh_id=fresh_id
            )
        for order in given_up + short:
            succeeded = services.record_of(PAYMENTS.name, order, PaymentSucceeded)
            services.replay(PAYMENTS.name, succeeded, fresh_id=fresh_id)
        services.eventually_caught_up()
        assert services.effects() == before, (
            "a replay charged, refunded, reserved or told something"
        )
        if not fresh_id:  # Under another id it is another event, to be told of.
            assert services.notification.mail.totals() == mails, "a replay sent a mail"
    assert services.dead_letters() == []
