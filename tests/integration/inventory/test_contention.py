"""
What is wrong with one order, one row or the whole schema, on the real stack: only that waits, all
else goes on, and nothing that time heals becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from uuid import uuid4

import pytest
from tests.support.builders import an_order, paid, shipped
from tests.support.kafka_tools import orderflow
from tests.support.service import Process, Service, service_deployed
from tests.support.stack import OwnStack
from tests.support.stock import receive

from orderflow.contracts.ids import OrderId
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.testing.eventually import eventually

FAULTS = 40
FAILED_ATTEMPTS = "orderflow_listener_failed_attempts_total{"


@pytest.fixture(scope="module")
def service(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    for what in ("topics", "schemas"):
        deployed = orderflow(own_stack, what, "apply")
        assert deployed.returncode == 0, deployed.stderr
    with service_deployed(own_stack, tmp_path_factory.mktemp("inventory"), "inventory") as service:
        receive(service.database_url, {"LOCKED": 100, "FREE": 100})
        yield service


@pytest.fixture(scope="module")
def process(service: Service) -> Iterator[Process]:
    process = service.start("api,listener,relay")
    yield process
    assert process.terminate() == 0, process.log.read_text()


def pay(service: Service, sku: str) -> OrderId:
    order_id = OrderId(str(uuid4()))
    service.send(PAYMENTS.name, paid(an_order(order_id, (sku, 1))))
    return order_id


def reserved(service: Service, orders: list[OrderId]) -> int:
    known = {str(order) for (order,) in service.rows("SELECT order_id FROM reservation")}
    return len(known & set(orders))


def failed_attempts(process: Process) -> int:
    text = process.client.get("/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith(FAILED_ATTEMPTS)]
    return int(float(line.rpartition(" ")[2]))


def dead_letters(service: Service) -> int:
    return sum(
        len(service.records(dead_letter_topic(topic, service.group).name))
        for topic in (ORDERS, PAYMENTS)
    )


@pytest.fixture(scope="module")
def faults(service: Service, process: Process) -> None:
    """Many valid events of orders that nobody knows."""
    for _ in range(FAULTS):
        service.send(ORDERS.name, shipped(an_order(OrderId(str(uuid4())))))
    service.flush()


@pytest.mark.usefixtures("faults")
def test_a_good_order_passes_many_events_of_orders_that_nobody_knows(
    service: Service, process: Process
) -> None:
    good = [pay(service, "FREE")]
    service.flush()
    eventually(lambda: reserved(service, good) == 1, within_s=10, why="the good one passes")
    assert process.reasons == []


@pytest.mark.usefixtures("faults", "process")
def test_a_row_that_a_stranger_holds_delays_only_the_orders_of_it(service: Service) -> None:
    with service.connection() as stranger:
        stranger.execute("SELECT FROM stock WHERE sku = 'LOCKED' FOR UPDATE")
        stranger.execute("SET idle_in_transaction_session_timeout = 0")
        locked = [pay(service, "LOCKED")]
        others = [pay(service, "FREE") for _ in range(10)]
        service.flush()
        eventually(lambda: reserved(service, others) == 10, within_s=10, why="the others pass")
        assert reserved(service, locked) == 0
        stranger.rollback()

    eventually(lambda: reserved(service, locked) == 1, within_s=10, why="the lock is gone")


@pytest.mark.usefixtures("faults")
def test_a_table_that_a_migration_has_still_to_make_is_waited_for(
    service: Service, process: Process
) -> None:
    with service.connection() as connection:
        connection.execute("ALTER TABLE reservation RENAME TO still_to_come")
    waiting = [pay(service, "FREE"), pay(service, "FREE")]
    service.flush()
    eventually(
        lambda: any("lacks a table" in why for why in process.reasons),
        within_s=20,
        why="it says what is missing",
    )
    answer = process.client.get(f"/reservations/{waiting[0]}")
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE

    with service.connection() as connection:
        connection.execute("ALTER TABLE still_to_come RENAME TO reservation")
    eventually(lambda: reserved(service, waiting) == 2, within_s=15, why="the table is there")
    eventually(process.ready, within_s=15, why="nothing is missing any more")


@pytest.mark.usefixtures("faults")
def test_each_event_of_an_unknown_order_is_charged_its_attempts_and_nothing_else_is(
    service: Service, process: Process
) -> None:
    """When its attempts end: `unit/messaging/container/test_waves.py`, on a clock that jumps."""
    eventually(
        lambda: failed_attempts(process) == 2 * FAULTS,
        within_s=30,
        why="the second attempt of each",
    )
    assert dead_letters(service) == 0
