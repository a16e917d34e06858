"""
The sweeper: what is not paid for in time is cancelled once, and a fact in the log, read or not, is
never beaten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from tests.support.builders import an_order_on_request
from tests.support.fact_schedules import fact
from tests.support.order_service import order_deployed
from tests.support.records import headers
from tests.support.service import Process, Service, is_stopped
from tests.support.stack import Stack

from orderflow.contracts.events import OrderCancelled, OrderEvent
from orderflow.contracts.ids import OrderId
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.failpoints import VARIABLE
from orderflow.messaging.kafka import clients
from orderflow.messaging.testing.eventually import eventually

HEARS = (PAYMENTS.name, INVENTORY.name)
LIMIT_S = 1.0
SETTINGS = {
    "ORDERFLOW_ORDER__DEADLINES__PAY_S": str(LIMIT_S),
    "ORDERFLOW_ORDER__SWEEPER__EVERY_S": "0.1",
    "ORDERFLOW_ORDER__SWEEPER__PATIENCE_S": "1",
}


@dataclass(frozen=True)
class Sweeping:
    """
    The order service alone: relay and API run, listener and sweepers come and go with the tests.
    """

    service: Service
    api: httpx2.Client

    def place(self, count: int, *, path: str = "/api/orders") -> list[str]:
        lines = [{"sku": "MOUSE-01", "quantity": 1}] if path == "/orders" else []
        body = {"customerId": "customer-123", "lines": lines}
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self.api.post(path, json=body), range(count)))
        return [answer.json()["orderId"] for answer in answers]

    def listener(self) -> Process:
        return self.service.start("listener")

    def sweeper(self, *, slot: int = 0, failpoint: str = "") -> Process:
        armed = {VARIABLE: f"sweeper.before_cas={failpoint}"} if failpoint else {}
        return self.service.start("sweeper", slot=slot, wait=not failpoint, **SETTINGS, **armed)

    def statuses(self, orders: Sequence[str]) -> list[str]:
        rows = self.service.rows("SELECT order_id::text, status FROM orders")
        status_of = {str(order_id): str(status) for order_id, status in rows}
        return [status_of[order] for order in orders]

    def are(self, orders: Sequence[str], *expected: str) -> Callable[[], bool]:
        wanted = [*expected] if len(expected) == len(orders) else [*expected] * len(orders)
        return lambda: self.statuses(orders) == wanted

    def last_entry(self, order: str) -> dict[str, Any]:
        items: list[dict[str, Any]] = self.api.get(f"/orders/{order}/history").json()["items"]
        return items[-1]

    def pay(self, order: str) -> None:
        """
        Payment says that it was paid. (It was not asked: a copy of the database may have lost
        that.)
        """
        self.service.send(PAYMENTS.name, fact("succeeded", an_order_on_request(OrderId(order))))
        self.service.flush()

    def told(self, topic: str, orders: Sequence[str]) -> Counter[tuple[str, str]]:
        return Counter(
            (said.key, said.type)
            for said in self.service.published(topic)
            if said.key in set(orders)
        )

    def eventually_told(self, orders: Sequence[str], *, cancelled: Sequence[str]) -> None:
        """Of each cancelled order once that it is, of all others nothing of the kind."""
        expected = {(order, OrderCancelled.__name__): 1 for order in cancelled}

        def cancels() -> dict[tuple[str, str], int]:
            published = self.told(ORDERS.name, orders)
            return {
                key: count for key, count in published.items() if key[1] == OrderCancelled.__name__
            }

        eventually(
            lambda: len(cancels()) >= len(cancelled),
            within_s=30,
            every_s=0.2,
            why="cancellations are told",
        )
        assert cancels() == expected
        changes = self.told(ORDER_EVENTS.name, cancelled)
        assert changes == {(order, OrderEvent.__name__): 2 for order in cancelled}, (
            "created, cancelled"
        )


def held(sweeper: Process) -> float:
    """How many orders it would cancel if it were sure that nothing is unread."""
    lines = sweeper.client.get("/metrics").text.splitlines()
    return next(
        float(line.split()[1])
        for line in lines
        if line.startswith("orderflow_sweeper_orders_held ")
    )


@pytest.fixture(scope="module")
def sweeping(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweeping]:
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
        yield Sweeping(service=service, api=service.start("api,relay").client)


@pytest.fixture
def listener(sweeping: Sweeping) -> Iterator[Process]:
    running = sweeping.listener()
    yield running
    assert running.terminate() == 0, running.log.read_text()


@pytest.fixture
def sweeper(sweeping: Sweeping) -> Iterator[Process]:
    running = sweeping.sweeper()
    yield running
    assert running.terminate() == 0, running.log.read_text()


@pytest.mark.usefixtures("listener")
def test_what_is_not_paid_for_in_time_is_cancelled_once_by_however_many_sweepers(
    sweeping: Sweeping, sweeper: Process
) -> None:
    late, on_request = sweeping.place(500), sweeping.place(3, path="/orders")
    other = sweeping.sweeper(slot=1)
    eventually(sweeping.are(late, "CANCELLED"), within_s=60, every_s=0.2)
    assert sweeping.statuses(on_request) == ["CREATED"] * 3, "their payment is under way"
    sweeping.eventually_told([*late, *on_request], cancelled=late)
    entry = sweeping.last_entry(late[0])
    assert (entry["status"], entry["version"]) == ("CANCELLED", 2)
    assert entry["cause"] == {"type": "deadline", "id": "PAYMENT_DEADLINE"}
    assert entry["description"] == "Order has been cancelled: it was not paid in time"
    assert (held(sweeper), held(other)) == (0, 0)
    assert other.terminate() == 0, other.log.read_text()


def test_a_fact_that_nobody_has_read_yet_is_not_beaten(
    sweeping: Sweeping, sweeper: Process
) -> None:
    paid, late = sweeping.place(2)
    sweeping.pay(paid)
    eventually(
        lambda: held(sweeper) == 2,
        within_s=30,
        why="it found both past their deadline, and a fact unread",
    )
    assert sweeping.statuses([paid, late]) == ["CREATED", "CREATED"]
    listener = sweeping.listener()
    eventually(sweeping.are([paid, late], "PAID", "CANCELLED"), within_s=60, every_s=0.2)
    sweeping.eventually_told([paid, late], cancelled=[late])
    assert listener.terminate() == 0


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("commits", [True, False])
def test_a_fact_in_an_open_transaction_is_not_beaten_if_it_commits(
    sweeping: Sweeping, sweeper: Process, commits: bool
) -> None:
    [order] = sweeping.place(1)
    succeeded = fact("succeeded", an_order_on_request(OrderId(order)))
    name, patient = f"test-{uuid4().hex[:8]}", {"transaction.timeout.ms": 60_000}
    producer = clients.transactional_producer(sweeping.service.kafka, name, **patient)
    producer.init_transactions(30)
    producer.begin_transaction()
    value = sweeping.service.encoder.encode(PAYMENTS.name, succeeded)
    producer.produce(
        PAYMENTS.name,
        value,
        order.encode(),
        headers=headers(succeeded, uuid4(), source=PAYMENTS.source),
    )
    assert producer.flush(10) == 0
    eventually(
        lambda: held(sweeper) == 1, within_s=10, why="it found the order, and an open transaction"
    )
    assert sweeping.statuses([order]) == ["CREATED"]
    if commits:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)
    eventually(sweeping.are([order], "PAID" if commits else "CANCELLED"), within_s=30, every_s=0.2)
    sweeping.eventually_told([order], cancelled=[] if commits else [order])


@pytest.mark.usefixtures("listener")
def test_an_order_that_moved_on_while_a_sweeper_was_about_to_cancel_it_stays(
    sweeping: Sweeping,
) -> None:
    """The machine stands still between the look and the act, for as long as it likes."""
    paid, placed, late = sweeping.place(3)
    sweeper = sweeping.sweeper(failpoint="stop@1")
    eventually(
        lambda: is_stopped(sweeper.popen.pid), within_s=60, why="it is about to cancel all of them"
    )
    assert (
        sweeping.api.post(f"/orders/{placed}/pay", headers={"prefer": "wait=0"}).status_code == 202
    )
    sweeping.pay(paid)
    eventually(sweeping.are([paid], "PAID"), within_s=30, every_s=0.1)
    sweeper.resume()
    eventually(
        sweeping.are([paid, placed, late], "PAID", "CREATED", "CANCELLED"), within_s=30, every_s=0.2
    )
    sweeping.eventually_told([paid, placed, late], cancelled=[late])
    assert sweeper.terminate() == 0, sweeper.log.read_text()


@pytest.mark.usefixtures("listener", "sweeper")
def test_an_order_that_somebody_holds_delays_no_other(sweeping: Sweeping) -> None:
    held_order, *others = sweeping.place(3)
    with sweeping.service.connection() as stranger:
        stranger.execute("SELECT FROM orders WHERE order_id = %s FOR UPDATE", (held_order,))
        stranger.execute("SET idle_in_transaction_session_timeout = 0")
        eventually(sweeping.are(others, "CANCELLED"), within_s=20, every_s=0.2)
        assert sweeping.statuses([held_order]) == ["CREATED"]
        stranger.rollback()
    eventually(sweeping.are([held_order], "CANCELLED"), within_s=20, every_s=0.2)


@pytest.mark.usefixtures("listener")
def test_a_sweeper_killed_before_it_cancels_leaves_it_to_the_next(sweeping: Sweeping) -> None:
    orders = sweeping.place(20)
    sweeping.sweeper(failpoint="kill@1").assert_killed()
    assert sweeping.statuses(orders) == ["CREATED"] * 20
    successor = sweeping.sweeper()
    eventually(sweeping.are(orders, "CANCELLED"), within_s=30, every_s=0.2)
    sweeping.eventually_told(orders, cancelled=orders)
    assert successor.terminate() == 0, successor.log.read_text()
