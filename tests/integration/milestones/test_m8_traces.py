"""
Milestone 8: one order traced across all services.

On an instance of `orderflow up --with zipkin`: fifty orders of every kind, what Zipkin has of them,
and what `orderflow trace` says without it.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from tests.support.whole_stack import WholeStack, whole_stack
from tests.support.zipkin import Zipkin

from orderflow.contracts.topics import ORDERS
from orderflow.messaging.event import CE_ID, TRACEPARENT
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.testing.eventually import eventually

FOLLOWERS = {"fulfilment", "analytics"}
ASKED = {"order", "notification", *FOLLOWERS}
CHARGED = {*ASKED, "payment", "psp"}
PAID = {*CHARGED, "inventory", "revenue"}
SPOILT = "dead"
"""The end of the ids of records that no service has sent."""

Span = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """Orders of one kind: how many, how each is placed, what is done to it, who is in its trace."""

    name: str
    count: int
    services: set[str]
    sent: Counter[str]
    body: dict[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    short: bool = False


PLACED = Counter(OrderCreated=1, OrderEvent=1)
BOUGHT = PLACED + Counter(PaymentSucceeded=1, OrderEvent=1, StockReserved=1)
KINDS = (
    Kind("paid", 8, PAID, BOUGHT),
    Kind(
        "delivered",
        8,
        PAID,
        BOUGHT + Counter(PaymentRequested=1, OrderShipped=1, OrderEvent=2),
        commands=("pay", "ship", "deliver"),
        short=True,
    ),
    Kind(
        "declined",
        8,
        CHARGED,
        PLACED + Counter(PaymentFailed=1),
        body={"paymentMethod": "pm_declined"},
    ),
    Kind("unknown", 4, PAID, BOUGHT, body={"paymentMethod": "pm_pending"}),
    Kind(
        "out of stock",
        6,
        PAID,
        PLACED
        + Counter(PaymentSucceeded=1, StockRejected=1, OrderCancelled=1, PaymentRefunded=1)
        + Counter(OrderEvent=2),
        body={"lines": [{"sku": "DESK-160", "quantity": 1}]},
    ),
    Kind(
        "cancelled",
        6,
        PAID,
        BOUGHT
        + Counter(PaymentRequested=1, OrderCancelled=1, PaymentRefunded=1, StockReleased=1)
        + Counter(OrderEvent=1),
        commands=("pay", "cancel"),
        short=True,
    ),
    Kind("retried", 5, PAID, BOUGHT, body={"customerId": "retried-customer"}),
    Kind("dead letter", 5, PAID, BOUGHT),
)


@dataclass
class Placed:
    kind: Kind
    order_id: str
    given: str | None = None


@pytest.fixture(scope="module")
def stack() -> Iterator[WholeStack]:
    with whole_stack("zipkin") as stack:
        yield stack


@pytest.fixture(scope="module")
def zipkin(stack: WholeStack) -> Zipkin:
    zipkin = Zipkin(stack.addresses["ZIPKIN_URL"])
    zipkin.eventually_ready()
    return zipkin


@pytest.fixture(scope="module")
def orders(stack: WholeStack, zipkin: Zipkin) -> list[Placed]:
    """Fifty orders that have come to rest, their spans included."""
    del zipkin
    fail_once_for(stack, "retried-customer")
    with stack.api("order") as api:
        placed = [place(api, kind) for kind in KINDS for _ in range(kind.count)]
        for order in placed:
            for command in order.kind.commands:
                answer = api.post(f"/orders/{order.order_id}/{command}")
                assert answer.status_code == 200, answer.text
        spoil(stack, [order for order in placed if order.kind.name == "dead letter"])
        # Three rounds: what one service publishes may make another publish something.
        for _ in range(3):
            eventually(lambda: stack.lag() == 0, within_s=120, every_s=1, why="nothing waits")
    return placed


def place(api: httpx2.Client, kind: Kind) -> Placed:
    body = {
        "customerId": "customer-123",
        "lines": [{"sku": "MOUSE-01", "quantity": 2}],
        **kind.body,
    }
    answer = api.post("/api/orders" if kind.short else "/orders", json=body)
    assert answer.status_code == 201, answer.text
    return Placed(kind, answer.json()["orderId"])


def fail_once_for(stack: WholeStack, customer: str) -> None:
    """
    Let the database of fulfilment refuse the shipments of a customer, until each was tried alone.

    A sequence is not rolled back: so a failed statement counts.
    """
    with psycopg.connect(stack.addresses["FULFILMENT_DATABASE_URL"]) as database:
        database.execute(
            f"""
            CREATE SEQUENCE failures;
            CREATE FUNCTION fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.customer_id = '{customer}' AND nextval('failures') <= 12 THEN
                    RAISE EXCEPTION 'told to fail';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER fail_at_first BEFORE INSERT ON shipment
                FOR EACH ROW EXECUTE FUNCTION fail_at_first();
            """
        )


def spoil(stack: WholeStack, orders: list[Placed]) -> None:
    """Put a record that nobody can read on `orders`, in the trace of each of these orders."""
    kafka = KafkaSettings(bootstrap_servers=stack.addresses["KAFKA_BOOTSTRAP_SERVERS"])
    wanted = {order.order_id for order in orders}
    producer = clients.producer(kafka)
    for record in list(read(kafka, ORDERS.name, follow=False)):
        key = (record.key or b"").decode() if record is not None else ""
        if record is not None and key in wanted:
            wanted.discard(key)
            headers: list[tuple[str, str | bytes | None]] = [
                (name, f"{value.decode()[:-4]}{SPOILT}".encode() if name == CE_ID else value)
                for name, value in record.headers
                if value is not None
            ]
            producer.produce(ORDERS.name, b"\x00damaged", key.encode(), headers=headers)
    assert producer.flush(30) == 0
    assert not wanted


def traces_of(stack: WholeStack, orders: list[Placed]) -> dict[str, str]:
    """Each order's trace id, by all the records that its key has on `orders`."""
    kafka = KafkaSettings(bootstrap_servers=stack.addresses["KAFKA_BOOTSTRAP_SERVERS"])
    found: dict[str, set[str]] = defaultdict(set)
    for record in read(kafka, ORDERS.name, follow=False):
        if record is not None and record.key is not None:
            context = TraceContext.parse((dict(record.headers)[TRACEPARENT] or b"").decode())
            assert context is not None
            found[record.key.decode()].add(context.trace_id)
    assert all(len(found[order.order_id]) == 1 for order in orders), "one trace each"
    return {order.order_id: next(iter(found[order.order_id])) for order in orders}


def eventually_spans(
    zipkin: Zipkin, trace_id: str, is_whole: Callable[[list[Span]], bool], why: str
) -> list[Span]:
    eventually(
        lambda: is_whole(zipkin.trace(trace_id)), within_s=30, every_s=0.5, why=f"{why}: {trace_id}"
    )
    return zipkin.trace(trace_id)


def service_of(span: Span) -> str:
    return str(span.get("localEndpoint", {}).get("serviceName"))


def sent(spans: list[Span]) -> Counter[str]:
    """The events on the feed of orders, payments, inventory, by type: each once."""
    by_id = {
        span["tags"]["messaging.message.id"]: span["tags"]["orderflow.event_type"]
        for span in spans
        if span.get("kind") == "PRODUCER"
        and span["tags"]["messaging.destination.name"]
        in ("orders", "order-events", "payments", "inventory")
    }
    return Counter(by_id.values())


def test_every_order_is_one_trace_across_all_services_and_no_parent_is_missing(
    stack: WholeStack, zipkin: Zipkin, orders: list[Placed]
) -> None:
    assert len(orders) == 50
    traces = traces_of(stack, orders)
    assert len(set(traces.values())) == 50
    for order in orders:
        kind = order.kind

        def is_whole(spans: list[Span], kind: Kind = kind) -> bool:
            return sent(spans) == kind.sent and {*map(service_of, spans)} == kind.services

        spans = eventually_spans(zipkin, traces[order.order_id], is_whole, kind.name)
        known = {span["id"] for span in spans}
        (root,) = [span for span in spans if "parentId" not in span]
        assert service_of(root) == "order", kind.name
        assert root["name"].startswith("post"), root["name"]
        assert {span["parentId"] for span in spans if "parentId" in span} <= known, kind.name


def test_the_parents_are_the_way_that_the_order_took(
    stack: WholeStack, zipkin: Zipkin, orders: list[Placed]
) -> None:
    order = next(order for order in orders if order.kind.name == "paid")
    spans = {span["id"]: span for span in zipkin.trace(traces_of(stack, [order])[order.order_id])}

    def way(span: Span) -> list[str]:
        here = [f"{service_of(span)}: {span['name']}"]
        parent = spans.get(span.get("parentId", ""))
        return [*way(parent), *here] if parent else here

    ways = {tuple(way(span)) for span in spans.values()}
    begin = ("order: post /orders", "order: write the order", "order: send orders")
    paid = (*begin, "payment: process orders", "payment: send payments")
    assert (*begin, "payment: process orders", "payment: post psp", "psp: post charge") in ways
    assert (*paid, "revenue: process payments") in ways
    reserved = (*paid, "inventory: process payments", "inventory: send inventory")
    assert (*reserved, "order: process inventory") in ways
    mailed = (*paid, "notification: process payments", "notification: send mail")
    assert (*mailed, "notification: send notifications") in ways
    feed = (*paid, "order: process payments", "order: send order-events")
    for follower in FOLLOWERS:
        assert (*feed, f"{follower}: process order-events") in ways


def test_retries_and_dead_letters_are_seen(
    stack: WholeStack, zipkin: Zipkin, orders: list[Placed]
) -> None:
    traces = traces_of(stack, orders)
    retried = [order for order in orders if order.kind.name == "retried"]
    notes = [
        note["value"]
        for order in retried
        for span in zipkin.trace(traces[order.order_id])
        for note in span.get("annotations", ())
    ]
    assert any("attempt failed" in note for note in notes)

    for order in orders:
        if order.kind.name == "dead letter":
            spans = zipkin.trace(traces[order.order_id])
            letters = [span for span in spans if span["name"].endswith(".dlt")]
            assert {service_of(span) for span in letters} == {
                "payment",
                "inventory",
                "notification",
            }


def test_orderflow_trace_says_the_same(
    stack: WholeStack, zipkin: Zipkin, orders: list[Placed]
) -> None:
    """One of each kind, without the back end's help."""
    by_kind = {order.kind.name: order for order in orders}
    traces = traces_of(stack, [*by_kind.values()])
    for name, order in by_kind.items():
        story = json.loads(stack.answers("trace", order.order_id, "--json"))
        nodes = [*walk(story["story"])]
        spans = zipkin.trace(traces[order.order_id])
        assert story["traceId"] == traces[order.order_id]
        assert story["zipkin"], name
        assert events_in(nodes) == events_of(spans), name
        assert handled_in(nodes) == processed_in(spans), name


def test_the_story_reads_as_text(stack: WholeStack, orders: list[Placed]) -> None:
    order = next(order for order in orders if order.kind.name == "delivered")
    text = stack.answers("trace", order.order_id)
    for words in ("PaymentSucceeded", "StockReserved", "DELIVERED"):
        assert words in text


def test_a_killed_process_leaves_no_gap_but_its_own_spans(
    stack: WholeStack, zipkin: Zipkin, orders: list[Placed]
) -> None:
    """Payment dies between its commit and the export of its spans, then goes on."""
    assert orders
    (payment,) = [row for row in stack.status()["processes"] if row["name"] == "payment"]
    with stack.api("order") as api:
        placed = [place(api, KINDS[0]) for _ in range(20)]
        os.kill(payment["pid"], signal.SIGKILL)
        placed += [place(api, KINDS[0]) for _ in range(5)]
        for _ in range(3):
            eventually(lambda: stack.lag() == 0, within_s=120, every_s=1, why="nothing waits")

    traces = traces_of(stack, placed)
    others = PAID - {"payment", "psp"}
    for order in placed:
        spans = eventually_spans(
            zipkin,
            traces[order.order_id],
            lambda spans: others <= {*map(service_of, spans)},
            "the others have gone on",
        )
        known = {span["id"] for span in spans}
        orphans = {span["name"] for span in spans if span.get("parentId", span["id"]) not in known}
        # Only what had a lost span for its parent; it still names it, and is in the same trace.
        assert orphans <= {"process payments", "send payments", "post psp", "post charge"}


def test_the_command_says_what_it_could_not_ask_and_what_there_is_not(
    stack: WholeStack, orders: list[Placed]
) -> None:
    unknown = stack.orderflow("trace", str(uuid4()))
    assert (unknown.returncode, "there is no order" in unknown.stderr) == (1, True), unknown.stderr
    assert stack.orderflow("trace", "nonsense").returncode == 2

    stack.answers("stop", "payment")
    try:
        partial = stack.orderflow("trace", orders[0].order_id, "--json")
    finally:
        stack.answers("start", "payment")
    story = json.loads(partial.stdout)
    assert (partial.returncode, story["complete"]) == (1, False)
    assert "payment" in {missing["source"] for missing in story["missing"]}
    assert events_in([*walk(story["story"])]), "what the topics have is told all the same"


def walk(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield node
        yield from walk(node["children"])


FEEDS = ("orders", "order-events", "payments", "inventory", "notifications")


def events_in(nodes: list[dict[str, Any]]) -> set[str]:
    return {
        node["eventId"]
        for node in nodes
        if node["kind"] == "record"
        and node["topic"] in FEEDS
        and not node["eventId"].endswith(SPOILT)
    }


def events_of(spans: list[Span]) -> set[str]:
    return {
        span["tags"]["messaging.message.id"]
        for span in spans
        if span.get("kind") == "PRODUCER" and span["tags"]["messaging.destination.name"] in FEEDS
    }


def handled_in(nodes: list[dict[str, Any]]) -> set[tuple[str, str, int, str]]:
    return {
        (node["group"], node["topic"], node["offset"], node["outcome"])
        for node in nodes
        if node["kind"] == "handling"
        and node["outcome"] in ("handled", "dead letter")
        and node["topic"] in FEEDS
    }


def processed_in(spans: list[Span]) -> set[tuple[str, str, int, str]]:
    return {
        (
            span["tags"]["messaging.consumer.group.name"],
            span["tags"]["messaging.destination.name"],
            int(span["tags"]["messaging.kafka.offset"]),
            span["tags"]["orderflow.outcome"],
        )
        for span in spans
        if span.get("kind") == "CONSUMER" and span["tags"]["messaging.destination.name"] in FEEDS
    }
