"""
`orderflow bench relay`: how fast outbox rows become records, beside a poller or Debezium, in the
same run.

Two questions, put to both relays in turns: how fast is a backlog published, and how long after its
commit can a read_committed consumer read a row, at a steady rate. The consumer compares `ce_id`s
with the written rows: every turn reports how many records came twice and how many never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import msgspec
import psutil

from orderflow.bench.relay.debezium import DebeziumTurns
from orderflow.bench.relay.naive import TABLE
from orderflow.bench.relay.outbox_writer import TOPIC, Written, preload
from orderflow.bench.service_data import open_connection
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack.addresses import database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.arrivals import Arrivals, Reader, measure
from orderflow.trials.harness import Access, access, new_database, pid_of
from orderflow.trials.latency import Latencies, Percentiles
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.open_loop import LAG_MAX_MS
from orderflow.trials.processes import Generator, generating, python_module, running

OURS, NAIVE, DEBEZIUM = "orderflow relay", "polling relay", "Debezium"
Beside = Literal["poller", "debezium"]
WARM_UP_RATE_PER_S = 500


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` in each backlog; the other side gets as many. `warm_up_s`: not the poller's."""

    beside: Beside = "poller"
    rows: int = 50_000
    rows_per_transaction: tuple[int, ...] = (2, 100)
    rates_per_s: tuple[int, ...] = (200, 1_000)
    paced_s: float = 10.0
    rounds: int = 3
    warm_up_s: float = 30.0


SMOKE = Plan(
    rows=6_000, rows_per_transaction=(2,), rates_per_s=(200,), paced_s=2.0, rounds=1, warm_up_s=2.0
)


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """
    From the first record that could be read to the last; CPU of the relay in the same time, and its
    resident memory at the end.
    """

    target: str
    rows_per_transaction: int
    rows: int
    per_s: float
    cpu_us_per_record: float
    memory_mb: float
    start_s: float
    duplicates: int
    missing: int


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """`from_commit`: since COMMIT was answered. `from_due`: since the row was due."""

    target: str
    rate_per_s: int
    from_commit: Percentiles
    from_due: Percentiles
    generator_lag: Percentiles
    cpu_us_per_record: float
    duplicates: int
    missing: int

    @property
    def is_void(self) -> bool:
        return self.generator_lag.p99_ms > LAG_MAX_MS


class Report(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    plan: Plan
    drains: list[Drain]
    paced: list[Paced]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A relay: the database it reads, and how to run it; `run` yields the process id."""

    name: str
    dsn: str
    run: Callable[[], AbstractContextManager[int]]


def run(plan: Plan) -> Report:
    machine = this_machine()
    drains: list[Drain] = []
    paced: list[Paced] = []
    with temporary_stack() as stack:
        reached = access(stack)
        stack.stop_process("order-api")
        stack.stop_process("order-relay")
        ours = _ours(stack)
        other = (
            _naive(stack, reached)
            if plan.beside == "poller"
            else Target(name=DEBEZIUM, dsn=ours.dsn, run=DebeziumTurns(stack, reached.kafka).turn)
        )
        targets = (ours, other)
        for target in targets[: 1 if plan.beside == "poller" else 2]:
            with (
                target.run(),
                _writing(target, WARM_UP_RATE_PER_S, plan.warm_up_s, seed=0) as writer,
            ):
                writer.result()

        for number in range(plan.rounds):
            for target in targets:
                drains += [
                    _drain(target, reached.kafka, plan.rows, size)
                    for size in plan.rows_per_transaction
                ]
                paced += _steady_turns(target, reached.kafka, plan, seed=number + 1)
    return Report(machine=machine, plan=plan, drains=drains, paced=paced)


def _drain(target: Target, kafka: KafkaSettings, rows: int, rows_per_transaction: int) -> Drain:
    with Reader(kafka, TOPIC) as reader:
        ids = preload(target.dsn, rows=rows, rows_per_transaction=rows_per_transaction)
        began_ns = time.monotonic_ns()
        with target.run() as pid:
            throughput = measure(reader, expected=ids, pid=pid)
            memory_mb = psutil.Process(pid).memory_info().rss / 1e6

    return Drain(
        target=target.name,
        rows_per_transaction=rows_per_transaction,
        rows=len(ids),
        per_s=throughput.per_s,
        cpu_us_per_record=throughput.cpu_us_per_record,
        memory_mb=memory_mb,
        start_s=(throughput.first_ns - began_ns) / 1e9,
        duplicates=throughput.duplicates,
        missing=throughput.missing,
    )


def _steady_turns(target: Target, kafka: KafkaSettings, plan: Plan, *, seed: int) -> list[Paced]:
    with target.run() as pid:
        return [
            _steady(target, kafka, rate, plan.paced_s, seed=seed, pid=pid)
            for rate in plan.rates_per_s
        ]


def _steady(
    target: Target, kafka: KafkaSettings, rate: int, seconds: float, *, seed: int, pid: int
) -> Paced:
    with Reader(kafka, TOPIC) as reader:
        arrivals, cpu_before = Arrivals(), cpu_seconds(pid)
        with _writing(target, rate, seconds, seed=seed) as writer:
            reader.collect_until(arrivals, writer.is_over)
            rows = writer.result()
            reader.collect(arrivals, len(rows))
        cpu_s = cpu_seconds(pid) - cpu_before
        reader.settle(arrivals)

    from_commit, from_due, lag = _latencies(rows, arrivals)
    return Paced(
        target=target.name,
        rate_per_s=rate,
        from_commit=from_commit.percentiles(),
        from_due=from_due.percentiles(),
        generator_lag=lag.percentiles(),
        cpu_us_per_record=1e6 * cpu_s / len(rows),
        duplicates=arrivals.duplicates,
        missing=len({row.id for row in rows} - arrivals.ids),
    )


def _latencies(rows: list[Written], arrivals: Arrivals) -> tuple[Latencies, Latencies, Latencies]:
    """From commit, from due, and how late each row was begun."""
    arrived_ns = dict(zip(arrivals.in_order, arrivals.at_ns, strict=True))
    from_commit, from_due, lag = Latencies(), Latencies(), Latencies()
    for row in rows:
        lag.record_ns(row.begun_ns - row.due_ns)
        if row.id in arrived_ns:
            from_commit.record_ns(arrived_ns[row.id] - row.committed_ns)
            from_due.record_ns(arrived_ns[row.id] - row.due_ns)
    return from_commit, from_due, lag


def _writing(
    target: Target, rate: int, seconds: float, *, seed: int
) -> AbstractContextManager[Generator[list[Written]]]:
    module = "orderflow.bench.relay.outbox_writer"
    command = python_module(module, target.dsn, str(rate), str(seconds), str(seed))
    return generating(command, list[Written])


def _ours(stack: LocalStack) -> Target:
    @contextmanager
    def process() -> Iterator[int]:
        stack.start_process("order-relay")
        try:
            yield pid_of(stack, "order-relay")
        finally:
            stack.stop_process("order-relay")

    return Target(name=OURS, dsn=database_url(stack.settings, "order"), run=process)


def _naive(stack: LocalStack, reached: Access) -> Target:
    dsn = new_database(stack, "naive_relay")
    with open_connection(dsn) as connection:
        connection.execute(TABLE)
    command = python_module("orderflow.bench.relay.naive", dsn, reached.kafka.bootstrap_servers)
    return Target(name=NAIVE, dsn=dsn, run=lambda: running(command))
