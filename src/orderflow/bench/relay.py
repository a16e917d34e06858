"""
`orderflow bench relay`: how fast outbox rows become records, beside a poller, in the same run.

Two questions, each asked of both relays in turns: how fast is a backlog drained, and how long after its commit can a
read_committed consumer read a row, at a steady rate. The consumer here compares `ce_id`s with what was written: every
turn says how many came twice and how many never.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from orderflow.bench.latency import Latencies, Percentiles
from orderflow.bench.machine import Machine, cpu_seconds, this_machine
from orderflow.bench.naive_relay import TABLE
from orderflow.bench.outbox_writer import TOPIC, Sent, open_connection, preload
from orderflow.bench.reader import Arrivals, Reader
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack.addresses import database_url
from orderflow.stack.local import LocalStack
from orderflow.stack.parts import kafka, postgres
from orderflow.stack.private import private_stack

OURS, NAIVE = "orderflow relay", "polling relay"
LAG_MAX_MS = 1.0
ARRIVED_WITHIN_S = 300.0
SETTLE_S = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` in each backlog; the poller gets as many. Warm-up is for the broker, under transactions."""

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
    """From the first record that could be read to the last; CPU is the relay's own, over the same time."""

    target: str
    rows_per_transaction: int
    rows: int
    per_s: float
    cpu_us_per_record: float
    start_s: float
    duplicates: int
    missing: int


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """`from_commit`: since COMMIT was answered. `from_due`: since the row was due, the database's share included."""

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
    with private_stack() as stack:
        targets = (_ours(stack), _naive(stack))
        stack.stop_process("order-api")
        servers = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers(stack.settings))
        _paced(targets[0].dsn, 500, plan.warm_up_s, seed=0)
        stack.stop_process("order-relay")
        for number in range(plan.rounds):
            for target in targets:
                drains += [
                    _drain(target, servers, plan.rows, size) for size in plan.rows_per_transaction
                ]
                with target.run() as pid:
                    for rate in plan.rates_per_s:
                        paced.append(
                            _steady(target, servers, rate, plan.paced_s, seed=number + 1, pid=pid)
                        )
    return Report(machine=machine, plan=plan, drains=drains, paced=paced)


def _drain(target: Target, servers: KafkaSettings, rows: int, rows_per_transaction: int) -> Drain:
    with Reader(servers, TOPIC) as reader:
        ids = preload(target.dsn, rows=rows, rows_per_transaction=rows_per_transaction)
        began_ns = time.monotonic_ns()
        with target.run() as pid:
            got = Arrivals()
            reader.collect(got, 1, within_s=ARRIVED_WITHIN_S)
            first, cpu = got.count, cpu_seconds(pid)
            reader.collect(got, len(ids), within_s=ARRIVED_WITHIN_S)
            cpu = cpu_seconds(pid) - cpu
            first_ns, last_ns = got.at_ns[0], got.at_ns[-1]
            reader.settle(got, SETTLE_S)
    if got.count == first:
        raise OrderflowError(f"all {rows} rows came at once: too few for a rate")
    return Drain(
        target=target.name,
        rows_per_transaction=rows_per_transaction,
        rows=len(ids),
        per_s=(len(ids) - first) / ((last_ns - first_ns) / 1e9),
        cpu_us_per_record=1e6 * cpu / (len(ids) - first),
        start_s=(first_ns - began_ns) / 1e9,
        duplicates=got.duplicates,
        missing=len(ids - got.ids),
    )


def _steady(
    target: Target, servers: KafkaSettings, rate: int, seconds: float, *, seed: int, pid: int
) -> Paced:
    with Reader(servers, TOPIC) as reader:
        got, cpu = Arrivals(), cpu_seconds(pid)
        with _writing(target.dsn, rate, seconds, seed) as written:
            reader.collect_until(got, written.is_over)
            sent = written.sent()
            reader.collect(got, len(sent), within_s=ARRIVED_WITHIN_S)
        cpu = cpu_seconds(pid) - cpu
        reader.settle(got, SETTLE_S)
    arrived = dict(zip(got.in_order, got.at_ns, strict=True))
    from_commit, from_due, lag = Latencies(), Latencies(), Latencies()
    for one in sent:
        lag.record_ns(one.begun_ns - one.due_ns)
        if one.id in arrived:
            from_commit.record_ns(arrived[one.id] - one.committed_ns)
            from_due.record_ns(arrived[one.id] - one.due_ns)
    return Paced(
        target=target.name,
        rate_per_s=rate,
        from_commit=from_commit.percentiles(),
        from_due=from_due.percentiles(),
        generator_lag=lag.percentiles(),
        cpu_us_per_record=1e6 * cpu / len(sent),
        duplicates=got.duplicates,
        missing=len({one.id for one in sent} - got.ids),
    )


class _Writing:
    """The paced writer's process."""

    def __init__(self, dsn: str, rate: int, seconds: float, seed: int, file: Path) -> None:
        module = "orderflow.bench.outbox_writer"
        arguments = (dsn, str(rate), str(seconds), str(seed), str(file))
        self.process = subprocess.Popen((sys.executable, "-m", module, *arguments))
        self._file = file

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def sent(self) -> list[Sent]:
        if self.process.wait():
            raise OrderflowError(f"the writer ended with {self.process.returncode}")
        return msgspec.json.decode(self._file.read_bytes(), type=list[Sent])


@contextmanager
def _writing(dsn: str, rate: int, seconds: float, seed: int) -> Iterator[_Writing]:
    with tempfile.TemporaryDirectory() as directory:
        writing = _Writing(dsn, rate, seconds, seed, Path(directory) / "sent.json")
        try:
            yield writing
        finally:
            writing.process.kill()
            writing.process.wait()


def _paced(dsn: str, rate: int, seconds: float, *, seed: int) -> None:
    with _writing(dsn, rate, seconds, seed) as written:
        written.sent()


def _ours(stack: LocalStack) -> Target:
    @contextmanager
    def process() -> Iterator[int]:
        stack.start_process("order-relay")
        try:
            child = stack.find("order-relay").child
            assert child is not None
            yield child.pid
        finally:
            stack.stop_process("order-relay")

    return Target(name=OURS, dsn=database_url(stack.settings, "order"), run=process)


def _naive(stack: LocalStack) -> Target:
    postgres.create_database(stack.settings.ports.postgres, "naive_relay")
    dsn = database_url(stack.settings, "naive_relay")
    with open_connection(dsn) as connection:
        connection.execute(TABLE)
    command = (
        sys.executable,
        "-m",
        "orderflow.bench.naive_relay",
        dsn,
        kafka.bootstrap_servers(stack.settings),
    )

    @contextmanager
    def process() -> Iterator[int]:
        poller = subprocess.Popen(command, env=dict(os.environ))
        try:
            yield poller.pid
        finally:
            poller.terminate()
            poller.wait(30)

    return Target(name=NAIVE, dsn=dsn, run=process)


def show(report: Report) -> None:
    """Medians over the rounds, with their range."""
    console = Console(highlight=False)
    drains = Table(
        "backlog", "rows per transaction", "records/s", "relay µs/record", "twice", "never"
    )
    for name, size in sorted({(one.target, one.rows_per_transaction) for one in report.drains}):
        found = [
            one for one in report.drains if (one.target, one.rows_per_transaction) == (name, size)
        ]
        drains.add_row(
            name,
            str(size),
            _range([one.per_s for one in found], digits=0),
            _range([one.cpu_us_per_record for one in found]),
            str(sum(one.duplicates for one in found)),
            str(sum(one.missing for one in found)),
        )
    steady = Table(
        "steady",
        "rows/s",
        "p50 ms from commit",
        "p99 ms",
        "relay µs/record",
        "twice",
        "never",
        "void",
    )
    for rate, name in sorted({(one.rate_per_s, one.target) for one in report.paced}):
        every = [one for one in report.paced if (one.rate_per_s, one.target) == (rate, name)]
        steady.add_row(
            name,
            str(rate),
            _range([one.from_commit.p50_ms for one in every]),
            _range([one.from_commit.p99_ms for one in every]),
            _range([one.cpu_us_per_record for one in every], digits=0),
            str(sum(one.duplicates for one in every)),
            str(sum(one.missing for one in every)),
            f"{sum(one.is_void for one in every)} of {len(every)}",
        )
    console.print(drains, steady)
    console.print(
        f"void: rows were written more than {LAG_MAX_MS:.0f} ms late at p99; such a turn counts for nothing"
    )
    console.print(f"{report.machine.cores} cores, {report.machine.cpu}")


def _range(values: list[float], *, digits: int = 1) -> str:
    """`median (min–max)`."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
