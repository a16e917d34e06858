"""
A peer that goes silent without a reset, behind a proxy or as a stopped process.

Whoever waits for its answer gives up in 20 s and says so; the peer is waited for, and nothing is
lost or doubled. Registry, provider and mail server are in
`integration/kit/test_calls_have_an_end.py`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.order_service import TOPICS, OrderProcess, OrderService, order_deployed
from tests.support.silent_proxy import SilentProxy, silent_proxy
from tests.support.stack import OwnStack

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST

GIVEN_UP_WITHIN_S = 20.0
NOTICED_WITHIN_S = GIVEN_UP_WITHIN_S + 10.0
"""A role whose turn comes only every few seconds begins to wait that much later."""
WELL_WITHIN_S = 40.0
ALL_ROLES = "api,relay,listener,sweeper"


@pytest.fixture(scope="module")
def proxy(own_stack: OwnStack) -> Iterator[SilentProxy]:
    with silent_proxy(own_stack.postgres_port) as running:
        yield running


@pytest.fixture(scope="module")
def service(
    own_stack: OwnStack, proxy: SilentProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OrderService]:
    """The order service, whose way to its database is the proxy."""
    with order_deployed(own_stack, tmp_path_factory.mktemp("order")) as deployed:
        direct = f"@{HOST}:{own_stack.postgres_port}/"
        url = deployed.database_url.replace(direct, f"@{HOST}:{proxy.port}/")
        assert url != deployed.database_url
        yield replace(deployed, database_url=url)


@pytest.fixture(scope="module")
def process(service: OrderService) -> OrderProcess:
    return service.start(ALL_ROLES)


def reasons(process: OrderProcess) -> list[str]:
    assert process.popen.poll() is None, f"ended by itself:\n{process.log.read_text()}"
    answer = process.client.get("/readyz").json()
    return [*answer["reasons"], *answer["degraded"]]


def eventually_complains(process: OrderProcess, *of: str) -> None:
    """Each of these words is in a reason why the process is not ready, at one time or another."""
    seen: list[str] = []

    def all_named() -> bool:
        seen.extend(reasons(process))
        missing = [words for words in of if not any(words in reason for reason in seen)]
        assert not missing, f"nothing is said of {missing}, only {set(seen)}"
        return True

    eventually(all_named, within_s=NOTICED_WITHIN_S, why="every role that waits says so")


def place(process: OrderProcess, customer: str) -> int:
    answer = process.client.post("/api/orders", json={"customerId": customer}, timeout=30)
    return answer.status_code


def assert_nothing_lost_or_doubled(service: OrderService, *, accepted: set[str]) -> None:
    with service.connection() as connection:
        rows = connection.execute("SELECT customer_id, order_id::text FROM orders").fetchall()
    assert accepted <= {customer for customer, _ in rows}, "a 201 is an order"
    assert all(count == 1 for count in Counter(customer for customer, _ in rows).values())
    orders = {str(order_id) for _, order_id in rows}
    for topic in TOPICS:
        eventually(lambda topic=topic: orders <= set(service.keys(topic)), within_s=60)  # type: ignore[misc]
        assert service.keys(topic) == dict.fromkeys(orders, 1), "each is there once, and no other"


@pytest.mark.timeout(180)
def test_a_database_that_falls_silent_is_noticed_by_every_role_and_costs_nothing(
    service: OrderService, process: OrderProcess, proxy: SilentProxy
) -> None:
    """
    Goal: whoever waits for an answer of a silent database gives up within 20 s, says so, and goes
    on when the database speaks again.

    Method: the proxy swallows answers and keeps every connection open, so that commits arrive and
    nobody hears of it. An order is posted meanwhile: it may be there or not, once.
    """
    assert place(process, "before") == 201
    proxy.fall_silent(answers_only=True)
    during: list[int] = []
    post = threading.Thread(target=lambda: during.append(place(process, "during")))
    post.start()
    try:
        eventually_complains(process, "database", "relay", "sweeper")
        post.join(GIVEN_UP_WITHIN_S)
        assert during == [503], "whoever waits for the answer is told"
    finally:
        proxy.speak()
    eventually(process.ready, within_s=WELL_WITHIN_S, why="it is well again by itself")
    assert place(process, "after") == 201
    assert_nothing_lost_or_doubled(service, accepted={"before", "after"})


@pytest.mark.timeout(180)
def test_a_broker_that_falls_silent_is_noticed_by_relay_and_listener_and_costs_nothing(
    own_stack: OwnStack, service: OrderService, process: OrderProcess
) -> None:
    """
    Goal: a broker whose host acknowledges and which answers nothing is noticed within 20 s, also by
    a listener that has nothing to do. Orders are accepted all the time.

    Method: the broker is stopped with SIGSTOP, and goes on later.
    """
    os.kill(own_stack.pid("kafka"), signal.SIGSTOP)
    try:
        assert place(process, "silent-broker") == 201
        eventually_complains(process, "relay", "listener order: broker")
    finally:
        os.kill(own_stack.pid("kafka"), signal.SIGCONT)
    eventually(process.ready, within_s=WELL_WITHIN_S, why="it is well again by itself")
    assert_nothing_lost_or_doubled(service, accepted={"silent-broker"})
