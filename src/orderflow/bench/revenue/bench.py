"""
`orderflow bench revenue`: payments that wait on a topic become revenue, beside two baselines.

Ours is the revenue service's own listener in one process: both hops, tables and stores on disk,
exactly once. Baselines of the same run: the same listener without state (sums in memory, no
changelog, no set of facts, no store); and one Kafka transaction for each record, tuned. Every turn
has a group of its own; ours has one directory of stores for all turns, as a service that goes on
has. The worker first handles a few payments, then it is stopped while the backlog is produced: what
is measured is the drain, not the start. After each of its turns every customer's totals are read
back from the changelog.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from orderflow.bench.revenue import backlog, naive, worker
from orderflow.contracts.events import RevenueByCustomer, RevenueByHour
from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    BY_HOUR_REPARTITION,
    PAYMENTS,
    REVENUE_BY_CUSTOMER,
    REVENUE_BY_HOUR,
)
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka import admin, groups, reader
from orderflow.messaging.kafka.group_topics import group_topics
from orderflow.messaging.kafka.lag import committed_windows, observer
from orderflow.messaging.kafka.topics import Topic, TopicSettings
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials import records
from orderflow.trials.arrivals import Arrivals, Reader
from orderflow.trials.harness import access, ratio, wait_for
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.processes import running, with_task

OURS, NO_STATE, NAIVE = "orderflow revenue", "without state", "one transaction each"
INPUTS = (PAYMENTS, BY_CUSTOMER_REPARTITION, BY_HOUR_REPARTITION)
NAIVE_CHANGELOG = Topic(
    name="bench-naive-changelog", key=REVENUE_BY_CUSTOMER.key, retention=PAYMENTS.retention
)
LEAD_MIN = 20
ASK_WITHIN_S = 5.0
DRAINED_WITHIN_S = 30.0

T = TypeVar("T", RevenueByCustomer, RevenueByHour)

Start = Mapping[str, Mapping[int, int]]
"""By topic, the first offset of each partition."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Records preloaded on `payments` for each turn; a twentieth of them are refunds."""

    records: int = 60_000
    customers: int = 10_000
    naive_records: int = 400
    rounds: int = 3
    warm_up_s: float = 30.0
    warm_up_records: int = 20_000


SMOKE = Plan(
    records=3_000, customers=500, naive_records=40, rounds=1, warm_up_s=1.0, warm_up_records=0
)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """
    From the moment when the worker may go on until its group has committed both hops; CPU (user and
    system) of the worker in the same time. `customers`: whose totals were read back, and were
    right; 0 where there is nothing to read back.
    """

    target: str
    records: int
    per_s: float
    cpu_us_per_record: float
    duplicates: int
    missing: int
    customers: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratios`: ours against each baseline, medians of the same run. All totals were right."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratios: dict[str, float]


def run(plan: Plan) -> Report:
    machine = this_machine()
    turns: list[Turn] = []
    with (
        temporary_stack(INFRASTRUCTURE) as stack,
        tempfile.TemporaryDirectory(prefix="orderflow-revenue-") as directory,
    ):
        bench = _Bench(stack, plan, Path(directory))
        bench.warm_up()
        for _ in range(plan.rounds):
            turns += bench.turns()

    ratios = {baseline: ratio(turns, OURS, baseline) for baseline in (NO_STATE, NAIVE)}
    return Report(machine=machine, plan=plan, turns=turns, ratios=ratios)


class _Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What is put on `payments`, and what it must come to."""

    records: list[records.Record]
    rekeyed: set[str]
    totals: backlog.ByCustomer


class _Bench:
    """One stack; turns do not share a group. `counted`: what ours has been given so far."""

    def __init__(self, stack: LocalStack, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._access = access(stack)
        self._directory = directory
        self._number = 0
        self._draw = random.Random(1)
        self._counted: backlog.ByCustomer = {}
        self._changelogs = _Changelogs(self._access.kafka, Registry(self._access.registry))
        self._create(NAIVE_CHANGELOG)

    def warm_up(self) -> None:
        records.warm_up(self._access.kafka, self._plan.warm_up_s)
        if self._plan.warm_up_records:
            for target in (OURS, NO_STATE):
                self._turn(target, self._plan.warm_up_records)

    def turns(self) -> list[Turn]:
        """Ours, the same without state, and the naive baseline over less."""
        plan = self._plan
        turns = [self._turn(target, plan.records) for target in (OURS, NO_STATE)]
        return [*turns, self._turn(NAIVE, plan.naive_records)]

    def _turn(self, target: str, count: int) -> Turn:
        self._number += 1
        group = f"bench-{self._number}"
        kafka = self._access.kafka
        # What the turns before have put there is nothing of this one.
        start = {topic.name: reader.end_offsets(kafka, topic.name) for topic in INPUTS}
        lead = self._backlog(max(LEAD_MIN, count // 200))
        load = self._backlog(count)
        records.produce(kafka, PAYMENTS.name, lead.records)

        with (
            Reader(kafka, BY_CUSTOMER_REPARTITION.name) as rekeyed,
            self._worker(target, group, start) as pid,
        ):
            turn = self._measured(target, group, (lead, load), rekeyed, pid)
        if target != OURS:
            return turn
        for part in (lead, load):
            self._counted = backlog.added(self._counted, part.totals)
        return msgspec.structs.replace(turn, customers=self._changelogs.verify(self._counted))

    def _backlog(self, count: int) -> _Backlog:
        events = backlog.captures_and_refunds(
            count, customers=self._plan.customers, draw=self._draw
        )
        encoded = records.encoded(PAYMENTS.name, events, self._access.registry)
        return _Backlog(
            records=encoded,
            rekeyed=backlog.rekeyed_ids(encoded),
            totals=backlog.totals_of(events),
        )

    def _measured(
        self, target: str, group: str, parts: tuple[_Backlog, _Backlog], last: Reader, pid: int
    ) -> Turn:
        lead, load = parts
        count, expected = len(load.records), lead.rekeyed | load.rekeyed
        arrivals = Arrivals()
        last.collect(arrivals, len(lead.records))
        self._wait_until_drained(group)

        # Stopped, so that the whole backlog is there when the clock begins.
        os.kill(pid, signal.SIGSTOP)
        try:
            records.produce(self._access.kafka, PAYMENTS.name, load.records)
        finally:
            os.kill(pid, signal.SIGCONT)
        began, cpu_before = time.monotonic(), cpu_seconds(pid)
        last.collect(arrivals, len(expected))
        self._wait_until_drained(group)
        elapsed_s, cpu_s = time.monotonic() - began, cpu_seconds(pid) - cpu_before
        last.settle(arrivals)

        return Turn(
            target=target,
            records=count,
            per_s=count / elapsed_s,
            cpu_us_per_record=1e6 * cpu_s / count,
            duplicates=arrivals.duplicates,
            missing=len(expected - arrivals.ids),
        )

    def _wait_until_drained(self, group: str) -> None:
        """Until the group has committed everything of both hops, up to the last marker."""
        # The first hop first: what it has committed is on the second.
        for topic in (BY_CUSTOMER_REPARTITION.name, BY_HOUR_REPARTITION.name):
            self._wait_until_committed(group, topic)

    def _wait_until_committed(self, group: str, topic: str) -> None:
        kafka = self._access.kafka
        ends = reader.end_offsets(kafka, topic)
        client = observer(kafka, group)
        places = [(topic, number) for number in ends]

        def is_drained() -> bool:
            windows = committed_windows(client, places, timeout_s=ASK_WITHIN_S)
            return len(windows) == len(places) and all(
                window.base >= ends[number] - 1 for (_topic, number), window in windows.items()
            )

        try:
            wait_for(is_drained, within_s=DRAINED_WITHIN_S, what=f"{group} drains {topic}")
        finally:
            client.close()

    @contextmanager
    def _worker(self, target: str, group: str, start: Start) -> Iterator[int]:
        """The process that is measured; yields its pid."""
        if target == NAIVE:
            task: msgspec.Struct = naive.Task(
                bootstrap_servers=self._access.kafka.bootstrap_servers,
                registry_url=self._access.registry.url,
                group=group,
                changelog=NAIVE_CHANGELOG.name,
                start={topic: dict(places) for topic, places in start.items()},
            )
        else:
            task = worker.Task(
                group=group, state_dir=str(self._directory) if target == OURS else ""
            )
            self._create(*group_topics(INPUTS, group))
        for topic, places in start.items():
            groups.begin_at(self._access.kafka, group, topic, places)

        module = naive.__name__ if target == NAIVE else worker.__name__
        with running(with_task(module, task), self._access.environment) as pid:
            yield pid

    def _create(self, *topics: Topic) -> None:
        cluster = admin.Admin(self._access.kafka)
        admin.apply(admin.plan(topics, cluster, TopicSettings()), cluster)


class _Changelogs:
    """What ours has published of its tables, read on from where it was read to before."""

    def __init__(self, kafka: KafkaSettings, registry: Registry) -> None:
        self._kafka = kafka
        self._decoder = Decoder(registry)
        self._values: dict[tuple[str, bytes], bytes] = {}
        self._read_to: dict[str, dict[int, int]] = {
            topic.name: {} for topic in (REVENUE_BY_CUSTOMER, REVENUE_BY_HOUR)
        }

    def verify(self, expected: backlog.ByCustomer) -> int:
        """
        How many customers have exactly their totals. Raises OrderflowError if any has not, or if
        the hours do not add up to the same.
        """
        for topic in self._read_to:
            self._read_on(topic)
        customers = backlog.customers_of(self._events(REVENUE_BY_CUSTOMER, RevenueByCustomer))
        hours = backlog.currencies_of(self._events(REVENUE_BY_HOUR, RevenueByHour))

        wrong = {
            key
            for key in expected.keys() | customers.keys()
            if expected.get(key) != customers.get(key)
        }
        if wrong:
            raise OrderflowError(f"{len(wrong)} customers have not what they paid: no figure")
        if hours != backlog.by_currency(expected):
            raise OrderflowError("the hours do not add up to what was paid: no figure")
        return len({customer for customer, _currency in customers})

    def _read_on(self, topic: str) -> None:
        ends = reader.end_offsets(self._kafka, topic)
        for record in reader.read(self._kafka, topic, start=self._read_to[topic], follow=False):
            assert record is not None
            assert record.key is not None
            assert record.value is not None
            self._values[topic, record.key] = record.value
        self._read_to[topic] = ends

    def _events(self, topic: Topic, kind: type[T]) -> list[T]:
        return [
            self._decoder.decode_as(value, kind)
            for (name, _key), value in self._values.items()
            if name == topic.name
        ]
