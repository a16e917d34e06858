"""
Payments as files. The exporter is killed at its named lines, stopped, resumed, and gets the whole
topic again: DuckDB reads each event once, and the sums are the ledger's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.builders import an_order, paid, payment_failed, refunded
from tests.support.lake_store import LakeStore, lake_store, query
from tests.support.order_service import deploy_contracts
from tests.support.service import Process, Service, is_stopped, service_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.events import Event
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.kafka.groups import begin_at
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.testing.eventually import eventually

POINTS = ("listener.before_write", "lake.before_rename", "listener.after_write")
ROUNDS = [1, pytest.param(10, marks=pytest.mark.long)]
ORDERS_A_PIECE = 150
SOON = {
    "ORDERFLOW_LAKE__FLUSH_S": "0.2",
    "ORDERFLOW_LAKE__FLUSH_RECORDS": "100",
    "ORDERFLOW_LAKE__BLOCK_OFFSETS": "100",
    "ORDERFLOW_LAKE__SESSION_S": "6",
}
BEGAN = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
STATUSES = {
    "PaymentSucceeded": "CAPTURED",
    "PaymentRefunded": "REFUNDED",
    "PaymentFailed": "FAILED",
}

NOWHERE_ELSE: Mapping[str, str] = {}

pytestmark = pytest.mark.timeout(400)


class Ledger:
    """What was put on the topic: orders whose payments happen in three hours, in no order."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.counts: Counter[str] = Counter()
        self.amounts: Counter[str] = Counter()

    def add(self, orders: int) -> None:
        for number in range(orders):
            order = an_order(minor=100 + number)
            at = BEGAN + timedelta(hours=number % 3, milliseconds=number)
            failed = number % 15 == 0
            events: list[Event] = [payment_failed(order) if failed else paid(order)]
            if number % 10 == 1:
                events.append(refunded(order))
            for event in events:
                self._service.send(PAYMENTS.name, replace(event, occurred_at=at))
                self.counts[type(event).__name__] += 1
                self.amounts[type(event).__name__] += order.amount_minor
        self._service.flush()

    @property
    def rows(self) -> int:
        return self.counts.total()

    @property
    def totals(self) -> list[dict[str, object]]:
        return [
            {
                "currency": "EUR",
                "status": status,
                "count": self.counts[event],
                "amountMinor": self.amounts[event],
            }
            for event, status in sorted(STATUSES.items(), key=lambda pair: pair[1])
        ]


@pytest.fixture(scope="module")
def stack(own_stack: OwnStack) -> OwnStack:
    deploy_contracts(own_stack)
    return own_stack


@pytest.fixture(scope="module")
def lake(stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_deployed(stack, tmp_path_factory.mktemp("lake"), "lake") as lake:
        yield lake


@pytest.fixture(scope="module")
def ledger(lake: Service) -> Ledger:
    return Ledger(lake)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeStore]:
    with lake_store(tmp_path_factory.mktemp("store")) as store:
        yield store


def start(
    lake: Service, *, wait: bool = True, points: str = "", store: Mapping[str, str] = NOWHERE_ELSE
) -> Process:
    environment = {**SOON, **store, "ORDERFLOW_FAILPOINTS": points}
    return lake.start("exporter", slot=0, wait=wait, **environment)


def from_the_beginning(lake: Service) -> None:
    """What the group has committed is forgotten, once its last member's session is over."""
    partitions = end_offsets(lake.kafka, PAYMENTS.name)

    def begun() -> bool:
        begin_at(lake.kafka, lake.group, PAYMENTS.name, dict.fromkeys(partitions, 0))
        return True

    eventually(begun, within_s=60, every_s=0.5, why="the group is empty")
    assert lake.lag() > 0


def assert_balanced(root: Path, ledger: Ledger) -> None:
    """By DuckDB: each record once, and the ledger's sums, to the minor unit."""
    [(rows, offsets, events)] = query(
        root,
        'SELECT count(*), count(DISTINCT (topic, partition, "offset")),'
        " count(DISTINCT event_id) FROM lake",
    )
    assert (rows, offsets, events) == (ledger.rows,) * 3
    sums = query(
        root, "SELECT event_type, count(*), sum(amount_minor) FROM lake GROUP BY ALL ORDER BY ALL"
    )
    assert sums == [
        (event, ledger.counts[event], ledger.amounts[event]) for event in sorted(ledger.counts)
    ]
    misplaced = query(
        root,
        "SELECT count(*) FROM lake WHERE strftime(occurred_at AT TIME ZONE 'UTC', '%Y-%m-%d %H')"
        " <> date::VARCHAR || ' ' || lpad(hour::VARCHAR, 2, '0')",
    )
    assert misplaced == [(0,)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_killed_at_every_line_each_event_is_in_one_file_once(
    lake: Service, ledger: Ledger, rounds: int
) -> None:
    for point in [*POINTS] * rounds:
        ledger.add(ORDERS_A_PIECE)
        start(lake, wait=False, points=f"{point}=kill@2").assert_killed()
    process = start(lake)
    lake.eventually_caught_up(within_s=60)
    assert_balanced(lake.state_dir, ledger)
    sums = process.client.get("/lake/payments/sums").json()
    assert (sums["rows"], sums["events"], sums["totals"]) == (
        ledger.rows,
        ledger.rows,
        ledger.totals,
    )
    assert sums["payments"] == ledger.rows - ledger.counts["PaymentRefunded"]
    assert process.terminate() == 0


def test_the_whole_topic_again_changes_nothing(lake: Service, ledger: Ledger) -> None:
    files = {file: file.read_bytes() for file in lake.state_dir.rglob("*.parquet")}
    assert files
    from_the_beginning(lake)
    process = start(lake)
    lake.eventually_caught_up(within_s=60)
    assert {file: file.read_bytes() for file in lake.state_dir.rglob("*.parquet")} == files
    assert process.terminate() == 0


def test_one_that_was_stopped_before_its_write_harms_nobody(lake: Service, ledger: Ledger) -> None:
    zombie = start(lake, points="lake.before_rename=stop@1")
    ledger.add(ORDERS_A_PIECE)
    eventually(lambda: is_stopped(zombie.popen.pid), within_s=60, why="it stands still")
    # Its slot is taken by another, as a supervisor does that thinks it dead.
    successor = start(lake)
    lake.eventually_caught_up(within_s=60)
    assert_balanced(lake.state_dir, ledger)
    ledger.add(ORDERS_A_PIECE)
    zombie.resume()
    lake.eventually_caught_up(within_s=60)
    zombie.popen.wait(60)
    assert_balanced(lake.state_dir, ledger)
    assert successor.terminate() == 0


def test_a_bucket_has_the_same_rows_though_its_store_falls_silent(
    lake: Service, ledger: Ledger, store: LakeStore, tmp_path: Path
) -> None:
    from_the_beginning(lake)
    waiting = start(lake, wait=False, store=store.environment("payments-lake"))
    eventually(
        lambda: "store: the bucket is not there" in waiting.reasons,
        within_s=60,
        why="it says what is missing",
    )
    store.make_bucket("payments-lake")
    eventually(waiting.ready, within_s=60, why="it has a bucket")
    lake.eventually_caught_up(within_s=60)

    store.fall_silent()
    ledger.add(ORDERS_A_PIECE)
    eventually(
        lambda: "listener lake: store: away" in waiting.reasons,
        within_s=60,
        why="it says what is away",
    )
    assert lake.lag() > 0
    assert "127.0.0.1" not in str(waiting.reasons)
    store.go_on()
    lake.eventually_caught_up(within_s=60)
    store.download("payments-lake", tmp_path)
    assert_balanced(tmp_path, ledger)
    sums = waiting.client.get("/lake/payments/sums").json()
    assert sums["totals"] == ledger.totals
    assert waiting.terminate() == 0
