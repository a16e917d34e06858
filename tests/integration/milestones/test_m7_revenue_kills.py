"""
Milestone 7 under kills: three instances, killed at named lines while payments and refunds flow.

The judge is the payment service's ledger, and the provider's, to the minor unit.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count as number_from
from itertools import cycle
from random import Random

import httpx2
import pytest
from tests.support.builders import an_order, cancelled
from tests.support.order_service import deploy_contracts
from tests.support.payment_service import PaymentService, payment_deployed
from tests.support.revenue_service import RevenueService, revenue_deployed
from tests.support.service import KILLED
from tests.support.stack import OwnStack

from orderflow.contracts.events import OrderCreated
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.kafka import groups
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.testing.eventually import eventually

SLOTS = (0, 1, 2)
CUSTOMERS = 300
REFUNDED_EACH = 12
"""One order of so many is cancelled, and refunded."""
CANCELLED_AFTER = 100
TRICKLE_S = 0.01
ANSWERS = 50
"""So many answers, at least, are compared with those before them."""
WATCHED = 12
POINTS = (
    "listener.before_commit",
    "listener.after_commit",
    "streams.before_store_write",
    "streams.restore",
    "streams.assigned",
)
LOST, DAMAGED = (2, 9), 6
"""Kills after which the state directory is gone, or a file in it is damaged."""
ANSWERED_WITHIN_S = 20
CAMPAIGNS = [
    (6_000, 12),
    pytest.param(20_000, 20, marks=pytest.mark.long),
    pytest.param(100_000, 20, marks=pytest.mark.soak),
]


@pytest.fixture(scope="module")
def payment(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PaymentService]:
    deploy_contracts(own_stack)
    with payment_deployed(own_stack, tmp_path_factory.mktemp("payment")) as payment:
        payment.start()
        yield payment


@pytest.fixture(scope="module")
def revenue(
    payment: PaymentService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RevenueService]:
    stack = payment.service.stack
    with revenue_deployed(stack, tmp_path_factory.mktemp("revenue")) as revenue:
        for slot in SLOTS:
            revenue.start(slot, wait=False)
        eventually(lambda: all(p.ready() for p in revenue.instances.values()), within_s=60)
        yield revenue


@dataclass
class Watch:
    """What was answered for some customers: the highest count of payments at each position."""

    answers: int = 0
    seen: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    worse: list[str] = field(default_factory=list)

    def note(self, customer: str, body: dict[str, object]) -> None:
        freshness, totals = body["freshness"], body["totals"]
        assert isinstance(freshness, dict)
        assert isinstance(totals, dict)
        place, _, offset = freshness["position"].rpartition(":")
        payments = totals["EUR"]["payments"]
        before = self.seen.get((customer, place), (-1, 0))
        self.answers += 1
        if int(offset) >= before[0]:
            if payments < before[1]:
                self.worse.append(f"{customer} at {offset}: {payments}, at {before}")
            self.seen[customer, place] = int(offset), payments


@contextmanager
def watching(revenue: RevenueService) -> Iterator[Watch]:
    """Ask any instance for any of some customers, again and again, until the block ends."""
    watch, over = Watch(), threading.Event()
    draw = Random(7)

    def ask() -> None:
        while not over.wait(0.02):
            customer, slot = f"customer-{draw.randrange(WATCHED)}", draw.choice(SLOTS)
            try:
                answer = revenue.get(f"/revenue/{customer}", slot=slot)
            except httpx2.TransportError:
                continue
            if answer.status_code == 200:
                watch.note(customer, answer.json())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield watch
    finally:
        over.set()
        asking.join(30)


@contextmanager
def ordering(payment: PaymentService, count: int, *, per_s: int) -> Iterator[None]:
    """
    So many orders at a bounded rate, and the cancellation of some; then few, until the block ends:
    a line that a kill waits for is passed only while something flows.
    """
    over = threading.Event()

    def order() -> None:
        began, to_cancel = time.monotonic(), deque[OrderCreated]()
        for number in number_from(0):
            if number >= count and over.wait(TRICKLE_S):
                break
            placed = an_order(customer=f"customer-{number % CUSTOMERS}", minor=100 + number)
            payment.send(placed)
            if number % REFUNDED_EACH == 0:
                to_cancel.append(placed)
            # Later: an order that is cancelled before its charge is never captured.
            if len(to_cancel) > CANCELLED_AFTER:
                payment.send(cancelled(to_cancel.popleft()))
            if number < count and number % 100 == 0:
                ahead = began + number / per_s - time.monotonic()
                threading.Event().wait(max(0.0, ahead))
        payment.service.flush()

    thread = threading.Thread(target=order)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(300)


def damage(revenue: RevenueService, slot: int) -> None:
    """Overwrite the middle of the largest store."""
    files = list(revenue.state_of(slot).glob("revenue-by-customer-*.sqlite"))
    path = max(files, key=lambda file: file.stat().st_size)
    for log in (f"{path}-wal", f"{path}-shm"):
        path.with_name(log.rpartition("/")[2]).unlink(missing_ok=True)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"damaged" * 200)


def kill_again_and_again(revenue: RevenueService, kills: int) -> dict[str, int]:
    """Every instance dies at the next named line, and is started again; how often each killed."""
    points, draw, died = cycle(POINTS), Random(11), defaultdict[str, int](int)
    armed: dict[int, str] = {}

    def start(slot: int) -> None:
        armed[slot] = next(points)
        passes = 1 if armed[slot].startswith("streams.") else draw.randrange(3, 20)
        environment = {"ORDERFLOW_FAILPOINTS": f"{armed[slot]}=kill@{passes}"}
        revenue.start(slot, wait=False, **environment)

    for slot in SLOTS:
        revenue.instances[slot].popen.kill()
        revenue.instances[slot].popen.wait(10)
        start(slot)

    for number in range(kills):

        def dead() -> list[int]:
            return [s for s in SLOTS if revenue.instances[s].popen.poll() is not None]

        slot = eventually(dead, within_s=90, why=f"kill {number} at one of {armed}")[0]
        process = revenue.instances[slot]
        assert process.popen.returncode == KILLED, process.log.read_text()
        died[armed[slot]] += 1
        if number in LOST:
            shutil.rmtree(revenue.state_of(slot))
        if number == DAMAGED:
            damage(revenue, slot)
        start(slot)
    return died


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("orders", "kills"), CAMPAIGNS)
def test_totals_are_those_of_both_ledgers_after_many_kills(
    payment: PaymentService, revenue: RevenueService, orders: int, kills: int
) -> None:
    """
    Goal: net revenue equals what was captured and refunded, to the minor unit.

    Method: orders are paid and some refunded while three instances of revenue are killed again and
    again: before a commit, after it, before the store is written, in a restore, in a rebalance.
    Twice the state directory of the killed one is deleted, once a file is damaged. Meanwhile
    customers are asked for: no answer may count less than one before it at a lower position.
    """
    with watching(revenue) as watch, ordering(payment, orders, per_s=600):
        died = kill_again_and_again(revenue, kills)
        for slot in SLOTS:
            revenue.instances[slot].popen.kill()
            revenue.instances[slot].popen.wait(10)
            revenue.start(slot, wait=False)
        # Few answers come while all three die again and again: those after the kills count, too.
        eventually(lambda: watch.answers > ANSWERS, within_s=60, why="customers are answered")

    payment.assert_ledgers_agree()
    revenue.eventually_caught_up()
    assert set(died) == set(POINTS)
    assert watch.worse == []

    ledger = payment.totals()
    assert ledger["EUR"]["captures"] > orders * 0.8
    assert ledger["EUR"]["refunds"] > 0
    assert revenue.sums() == ledger
    assert revenue.sums_of_hours() == ledger
    assert_answered(revenue)


def test_a_replay_of_payments_from_the_beginning_changes_nothing(
    payment: PaymentService, revenue: RevenueService
) -> None:
    ledger = payment.totals()
    for process in revenue.instances.values():
        assert process.terminate() == 0, process.log.read_text()
    service = revenue.service
    beginning = dict.fromkeys(end_offsets(service.kafka, PAYMENTS.name), 0)

    def begin() -> bool:
        groups.begin_at(service.kafka, service.group, PAYMENTS.name, beginning)
        return True

    eventually(begin, within_s=30, every_s=1, why="the group is empty")
    for slot in SLOTS:
        revenue.start(slot, wait=False)
    eventually(lambda: all(p.ready() for p in revenue.instances.values()), within_s=60)
    revenue.eventually_caught_up(within_s=120)
    assert revenue.sums() == revenue.sums_of_hours() == ledger


def test_the_keys_of_a_killed_instance_are_answered_again_by_the_others(
    revenue: RevenueService,
) -> None:
    before = eventually(
        lambda: {name: answer(revenue, name, slot=0) for name in customers()}, within_s=60
    )
    revenue.instances[2].popen.kill()
    killed_at = time.monotonic()
    eventually(
        lambda: {name: answer(revenue, name, slot=0) for name in customers()} == before,
        within_s=ANSWERED_WITHIN_S,
        every_s=0.2,
    )
    assert time.monotonic() - killed_at < ANSWERED_WITHIN_S
    assert_answered(revenue, slots=(0, 1))


def customers() -> list[str]:
    return [f"customer-{number}" for number in range(30)]


def answer(revenue: RevenueService, customer: str, *, slot: int) -> object:
    response = revenue.get(f"/revenue/{customer}", slot=slot)
    assert response.status_code == 200, response.text
    return response.json()["totals"]


def assert_answered(revenue: RevenueService, slots: tuple[int, ...] = SLOTS) -> None:
    """Every instance answers for every customer, whoever has the key, as the topic says."""
    eventually(lambda: all(revenue.instances[slot].ready() for slot in slots), within_s=60)
    written = revenue.by_customer()
    for name in customers():
        expected = written[name].totals["EUR"].net_minor
        for slot in slots:
            shown = eventually(
                lambda name=name, slot=slot: answer(revenue, name, slot=slot),  # type: ignore[misc]
                within_s=20,
            )
            assert isinstance(shown, dict)
            assert shown["EUR"]["netMinor"] == expected
