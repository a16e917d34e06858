"""
Broker and database go away while orders are placed, and come back: nothing is lost, nothing
doubled.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx2
import pytest
from tests.support.order_service import TOPICS, OrderProcess, OrderService, order_deployed
from tests.support.stack import OwnStack

from orderflow.messaging.testing.eventually import eventually

CLIENTS = 4
EACH_POSTS_EVERY_S = 0.05
BROKER_OFF_S = 15
DATABASE_OFF_S = 8


@dataclass
class Traffic:
    """What each customer was answered; a customer places one order only."""

    placed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, httpx2.Response] = field(default_factory=dict)
    unknown: dict[str, Exception] = field(default_factory=dict)


@pytest.fixture(scope="module")
def service(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OrderService]:
    with order_deployed(own_stack, tmp_path_factory.mktemp("order")) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def relay(service: OrderService) -> OrderProcess:
    return service.start("relay")


@pytest.fixture(scope="module")
def api(service: OrderService, relay: OrderProcess) -> OrderProcess:
    return service.start("api")


@contextmanager
def posting(api: OrderProcess, name: str) -> Iterator[Traffic]:
    """Orders at a bounded rate, from some clients at once, until the block ends."""
    traffic, over = Traffic(), threading.Event()

    def post(number: int) -> None:
        posted = 0
        while not over.wait(EACH_POSTS_EVERY_S):
            customer, posted = f"{name}-{number}-{posted}", posted + 1
            try:
                answer = api.client.post("/api/orders", json={"customerId": customer})
            except httpx2.TransportError as error:
                traffic.unknown[customer] = error
                continue
            if answer.status_code == 201:
                traffic.placed[customer] = answer.json()["orderId"]
            else:
                traffic.refused[customer] = answer

    clients = [threading.Thread(target=post, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield traffic
    finally:
        over.set()
        for client in clients:
            client.join(30)


def keep_up(check: Callable[[], object], *, for_s: float) -> None:
    """`check` passes again and again, all the time."""
    over, tick = time.monotonic() + for_s, threading.Event()
    while time.monotonic() < over:
        check()
        tick.wait(0.25)


def assert_nothing_lost_or_doubled(service: OrderService, traffic: Traffic) -> None:
    with service.connection() as connection:
        rows = connection.execute("SELECT customer_id, order_id::text FROM orders").fetchall()
    committed = {order_id for _, order_id in rows}
    by_customer = Counter(customer for customer, _ in rows)
    assert all(count == 1 for count in by_customer.values()), "an unknown outcome is none or one"
    assert set(traffic.placed.items()) <= set(rows), "a 201 is an order"
    for topic in TOPICS:
        eventually(lambda topic=topic: committed <= set(service.keys(topic)), within_s=60)  # type: ignore[misc]
        assert service.keys(topic) == dict.fromkeys(committed, 1), (
            "each order's record is there once, and no other"
        )


@pytest.mark.long  # In each run two of three brokers are away: `test_outages_of_the_whole`.
@pytest.mark.timeout(240)
def test_a_broker_off_for_15_seconds_stops_no_order_and_loses_no_event(
    own_stack: OwnStack, service: OrderService, api: OrderProcess, relay: OrderProcess
) -> None:
    """
    Goal: orders are accepted while Kafka is away, because only the relay needs it.

    Method: clients post orders without a pause; the broker is stopped for 15 seconds. No post may
    be refused or unanswered, and afterwards each order is on the topic once.
    """
    with posting(api, "broker") as traffic:
        eventually(lambda: len(traffic.placed) > 20, within_s=20)
        own_stack.stop("kafka")
        placed_before = len(traffic.placed)
        keep_up(lambda: eventually(api.ready, within_s=5), for_s=BROKER_OFF_S)
        placed_meanwhile = len(traffic.placed) - placed_before
        own_stack.start("kafka")
        eventually(relay.ready, within_s=60)
    assert not traffic.refused
    assert not traffic.unknown
    assert placed_meanwhile > BROKER_OFF_S * 10, "orders went on at their rate"
    assert_nothing_lost_or_doubled(service, traffic)


@pytest.mark.timeout(240)
def test_a_database_off_for_8_seconds_is_503_and_loses_no_order(
    own_stack: OwnStack, service: OrderService, api: OrderProcess, relay: OrderProcess
) -> None:
    """
    Goal: without its database the API refuses orders with 503 and Retry-After, and accepts them
    again by itself.

    Method: clients post orders without a pause; the database is stopped for 8 seconds. Readiness
    and answers are asked for meanwhile; afterwards each accepted order is on the topic once, and
    no refused one is.
    """
    with posting(api, "database") as traffic:
        eventually(lambda: len(traffic.placed) > 20, within_s=20)
        order_id = next(iter(traffic.placed.values()))
        own_stack.stop("postgres")
        keep_up(lambda: refusals(api, order_id), for_s=DATABASE_OFF_S)
        refused_meanwhile = len(traffic.refused)
        own_stack.start("postgres")
        eventually(api.ready, within_s=30)
        eventually(relay.ready, within_s=60)
        placed_by_then = len(traffic.placed)
        eventually(lambda: len(traffic.placed) > placed_by_then + 20, within_s=30)
        refused_by_then = len(traffic.refused)
    assert refused_meanwhile > 0
    assert len(traffic.refused) == refused_by_then, "once it is ready, nobody is refused"
    for answer in traffic.refused.values():
        assert_unavailable(answer)
    assert not traffic.unknown, "the API itself never went away"
    assert api.client.get(f"/orders/{order_id}").status_code == 200
    assert_nothing_lost_or_doubled(service, traffic)


def test_a_failed_attempt_during_the_outage_leaves_its_key_free(
    own_stack: OwnStack, service: OrderService, api: OrderProcess, relay: OrderProcess
) -> None:
    """
    Goal: a post that failed without the database does not use up its Idempotency-Key.

    Method: the same post with the same key, while the database is stopped, and twice after it is
    back.
    """
    order, key = {"customerId": "customer-with-a-key"}, {"idempotency-key": "across-the-outage"}
    own_stack.stop("postgres")
    assert_unavailable(api.client.post("/api/orders", json=order, headers=key))
    own_stack.start("postgres")
    eventually(api.ready, within_s=30)
    first, again = (api.client.post("/api/orders", json=order, headers=key) for _ in range(2))
    assert (first.status_code, again.content) == (201, first.content)
    assert_nothing_lost_or_doubled(
        service, Traffic(placed={order["customerId"]: first.json()["orderId"]})
    )


def refusals(api: OrderProcess, order_id: str) -> None:
    assert_unavailable(api.client.get(f"/orders/{order_id}"))
    readiness = eventually(partial(not_ready, api), within_s=5, why="it is seen")
    assert readiness is not None
    assert "database" in readiness.json()["reasons"][0]
    assert api.client.get("/livez").status_code == 200


def not_ready(api: OrderProcess) -> httpx2.Response | None:
    readiness = api.client.get("/readyz")
    return readiness if readiness.status_code == 503 else None


def assert_unavailable(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (
        503,
        "application/problem+json",
    ), answer.text
    assert answer.json()["type"] == "/problems/unavailable"
    assert int(answer.headers["retry-after"]) > 0
