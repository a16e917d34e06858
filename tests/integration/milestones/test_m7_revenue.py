"""
Milestone 7: the aggregate updates as payments flow, verifiable by reading `revenue-by-customer`.

On a stack of its own, with the payment service and its provider.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from msgspec import structs
from tests.support.builders import an_order, paid, refunded
from tests.support.kafka_tools import console_consumer
from tests.support.order_service import deploy_contracts
from tests.support.revenue_service import RevenueService, revenue_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.events import (
    CurrencyTotals,
    PaymentRefunded,
    PaymentSucceeded,
    RevenueByCustomer,
)
from orderflow.contracts.ids import CustomerId
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import PAYMENTS, REVENUE_BY_CUSTOMER
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.kafka.transactions import TransactionAborted
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.streams.rebuild.takeover import Takeover
from orderflow.messaging.testing.eventually import eventually

RESTORED = [20_000, pytest.param(100_000, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def revenue(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RevenueService]:
    deploy_contracts(own_stack)
    with revenue_deployed(own_stack, tmp_path_factory.mktemp("revenue")) as revenue:
        revenue.start(0, ORDERFLOW_REVENUE__SESSION_S="6")
        yield revenue


def pay(
    revenue: RevenueService, customer: str, minor: int, *, at: datetime | None = None
) -> PaymentSucceeded:
    event = paid(an_order(customer=customer, minor=minor, at=at))
    send(revenue, event)
    return event


def send(revenue: RevenueService, event: PaymentSucceeded | PaymentRefunded) -> None:
    revenue.service.send(PAYMENTS.name, event, event_id=uuid4())
    revenue.service.flush()


def eventually_totals(revenue: RevenueService, customer: str, **expected: int) -> None:
    def totals() -> bool:
        answer = revenue.get(f"/revenue/{customer}")
        assert answer.status_code == 200, answer.text
        shown = answer.json()["totals"]["EUR"]
        return {name: shown[name] for name in expected} == expected

    eventually(totals, within_s=20, why=f"{customer}: {expected}")


def test_the_aggregate_updates_as_payments_flow_and_the_console_consumer_reads_it(
    revenue: RevenueService, own_stack: OwnStack
) -> None:
    pay(revenue, "alice", 1_000)
    eventually_totals(revenue, "alice", capturedMinor=1_000, netMinor=1_000, payments=1)

    second = an_order(customer="alice", minor=250)
    send(revenue, paid(second))
    send(revenue, refunded(second))
    pay(revenue, "bob", 40)
    eventually_totals(
        revenue, "alice", capturedMinor=1_250, refundedMinor=250, netMinor=1_000, refunds=1
    )
    eventually_totals(revenue, "bob", netMinor=40)
    assert revenue.by_customer()["alice"].totals["EUR"].net_minor == 1_000

    printed = console_consumer(own_stack, "revenue-by-customer", records_max=3)
    assert "alice" in printed
    assert "ce_type:orderflow.RevenueByCustomer" in printed
    assert "ce_source:/orderflow/revenue" in printed


def test_a_payment_counts_once_however_it_comes_again(revenue: RevenueService) -> None:
    """Under another event id, as when it is announced again months later."""
    event = pay(revenue, "carol", 700)
    for _ in range(3):
        send(revenue, event)
    pay(revenue, "carol", 1)
    eventually_totals(revenue, "carol", netMinor=701, payments=2)
    revenue.eventually_caught_up()
    eventually_totals(revenue, "carol", netMinor=701, payments=2)


def test_reading_your_own_write(revenue: RevenueService) -> None:
    for minor in range(1, 6):
        pay(revenue, "dave", minor)
    for position in revenue.everything():
        answer = revenue.get("/revenue/dave", {"minPosition": position})
        assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["totals"]["EUR"]["netMinor"] == 15
    assert body["freshness"]["state"] == "ACTIVE"
    assert body["freshness"]["instance"] == "revenue-0"
    assert body["freshness"]["position"].startswith("revenue-service-by-customer-repartition-")
    eventually(
        lambda: (revenue.get("/revenue/dave").json()["freshness"]["behindMs"] or 9_999) < 3_000,
        within_s=20,
    )


def test_the_highest_and_the_hours(revenue: RevenueService) -> None:
    at = datetime(2026, 1, 31, 9, 59, tzinfo=UTC)
    for customer, minor in (("erin", 900_000), ("frank", 800_000), ("grace", 950_000)):
        send(revenue, paid(an_order(customer=customer, minor=minor)))
    eventually_totals(revenue, "grace", netMinor=950_000)
    eventually_totals(revenue, "frank", netMinor=800_000)
    eventually_totals(revenue, "erin", netMinor=900_000)
    top = revenue.get("/revenue", {"top": 2, "currency": "EUR"}).json()
    assert [item["customerId"] for item in top["items"]] == ["grace", "erin"]
    assert [fresh["partition"] for fresh in top["freshness"]] == [0, 1, 2]

    def hours() -> bool:
        day = timedelta(days=1)
        query = {"from": (at - day).isoformat(), "to": (at + day).isoformat()}
        items = revenue.get("/revenue/hours", query).json()["items"]
        return bool(sum(item["totals"]["netMinor"] for item in items) >= 2_650_000)

    eventually(hours, within_s=20)


def test_what_is_not_known_or_not_valid_is_said(revenue: RevenueService) -> None:
    assert revenue.get("/revenue/nobody").json()["type"] == "/problems/no-revenue"
    for query in ("", "currency=EURO", "currency=EUR&top=0"):
        assert revenue.get(f"/revenue?{query}").status_code == 422
    for query in ("from=yesterday", "from=2026-01-01T00:00:00", "minPosition=x-1:2"):
        assert revenue.get(f"/revenue/hours?{query}").status_code == 422


def rebuild(own_stack: OwnStack, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and the differences that it names."""
    done = subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", "revenue", "rebuild", "--json", *arguments],
        env=own_stack.service_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout or "[]")


def test_totals_are_rebuilt_from_the_log_while_the_old_answers_stay_up(
    revenue: RevenueService, own_stack: OwnStack
) -> None:
    """
    Goal: a total that no payments stand behind is found, and put right; answers were 200 all the
    time; what was counted counts once, and what comes afterwards counts.

    Method: with the instance stopped, a false total is written to the changelog, which it restores.
    """
    counted = pay(revenue, "heidi", 500)
    eventually_totals(revenue, "heidi", netMinor=500)
    revenue.eventually_caught_up()
    assert revenue.instances[0].terminate() == 0
    false = revenue.by_customer()["heidi"]
    totals = structs.replace(false.totals["EUR"], captured_minor=77_777, net_minor=77_777)
    send_total(revenue, structs.replace(false, totals={"EUR": totals}))
    revenue.start(0, ORDERFLOW_REVENUE__SESSION_S="6")
    eventually_totals(revenue, "heidi", netMinor=77_777)

    code, [difference] = rebuild(own_stack, "--dry-run")
    assert code == 1
    assert difference["key"] == "heidi"
    assert difference["present"]["totals"]["EUR"]["netMinor"] == 77_777
    assert difference["recomputed"]["totals"]["EUR"]["netMinor"] == 500

    with answering(revenue, "/revenue/heidi") as answers:
        code, [put_right] = rebuild(own_stack, "--yes", "--reason", "a test")
        assert (code, put_right["key"]) == (0, "heidi")
        eventually_totals(revenue, "heidi", netMinor=500)
        eventually(revenue.instances[0].ready, within_s=30)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["totals"]["EUR"]["netMinor"] for answer in answers} == {77_777, 500}
    assert "PAUSED" in {answer.json()["freshness"]["state"] for answer in answers}

    send(revenue, counted)
    pay(revenue, "heidi", 1)
    eventually_totals(revenue, "heidi", netMinor=501, payments=2)
    assert rebuild(own_stack, "--dry-run") == (0, [])


def test_a_rebuild_commits_nothing_once_an_instance_has_come_back(
    revenue: RevenueService,
) -> None:
    kafka, group = revenue.service.kafka, "test-takeover"
    [*numbers] = end_offsets(kafka, PAYMENTS.name)
    takeover = Takeover(kafka, group, {PAYMENTS.name: len(numbers)}, between=lambda: None)
    instance = clients.consumer(kafka, group)
    try:
        takeover.take()
        takeover.commit([], {(PAYMENTS.name, 0): 1})
        instance.subscribe([PAYMENTS.name])

        def has_come_back() -> bool:
            takeover.keep()
            instance.poll(0.1)
            return bool(instance.assignment())

        eventually(has_come_back, within_s=30, every_s=0.01)
        with pytest.raises(TransactionAborted):
            takeover.commit([], {(PAYMENTS.name, 0): 2})
        [committed] = instance.committed([clients.TopicPartition(PAYMENTS.name, 0)], timeout=10)
        assert committed.offset == 1
    finally:
        instance.close()
        takeover.close()


def send_total(revenue: RevenueService, total: RevenueByCustomer) -> None:
    registry = Registry(RegistrySettings(url=revenue.service.stack.registry_url))
    try:
        encoder = Encoder.load(registry, CATALOGUE, [REVENUE_BY_CUSTOMER.name])
    finally:
        registry.close()
    value = encoder.encode(REVENUE_BY_CUSTOMER.name, total)
    revenue.service.producer.produce(REVENUE_BY_CUSTOMER.name, value, total.key.encode())
    revenue.service.flush()


@contextmanager
def answering(revenue: RevenueService, path: str) -> Iterator[list[httpx2.Response]]:
    """Ask again and again, on a thread; every answer."""
    answers: list[httpx2.Response] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            answers.append(revenue.get(path))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        stop.set()
        asking.join(30)


@pytest.mark.parametrize("customers", RESTORED)
def test_many_customers_are_restored_within_thirty_seconds(
    revenue: RevenueService, customers: int
) -> None:
    """From the changelog alone: the state directory is gone. Answers wait for it, or are right."""
    assert revenue.instances[0].terminate() == 0
    shutil.rmtree(revenue.state_of(0))
    totals = CurrencyTotals(captured_minor=5, refunded_minor=0, net_minor=5, payments=1, refunds=0)
    at = datetime(2026, 1, 31, 9, tzinfo=UTC)
    for number in range(customers):
        revenue.service.send(
            REVENUE_BY_CUSTOMER.name,
            RevenueByCustomer(
                customer_id=CustomerId(f"restored-{number}"), totals={"EUR": totals}, updated_at=at
            ),
        )
    revenue.service.flush()

    process = revenue.start(0, wait=False)
    eventually(process.ready, within_s=30, why=f"{customers:,} customers are restored")
    log = process.log.read_text()
    assert log.count("a state store is restored") == 6
    for number in (0, customers // 2, customers - 1):
        body = revenue.get(f"/revenue/restored-{number}").json()
        assert body["totals"]["EUR"]["netMinor"] == 5
        assert body["freshness"]["state"] == "ACTIVE"
