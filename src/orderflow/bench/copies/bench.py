"""
`orderflow bench copies`: how fast payments are copied into the warehouse and the lake, and how long
after its commit one is there.

Ours are the sink connector in Connect's worker, and the lake exporter's own process. Both are at
rest while the backlog is produced; then each copies it, alone. Baselines of the same run, over the
same records: for the warehouse a loop in Python that reads, decodes and upserts 500 rows with each
statement, into the sink's table in another database; for the lake a process that reads all rows
into memory, then writes them once into one Parquet file, in memory. After each of its turns a table
is compared with what was produced: a turn that is wrong gives no figure.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from orderflow.bench.copies import load, naive, paced, watch
from orderflow.bench.copies.load import Offsets
from orderflow.bench.copies.paced import Paced, memory_mb
from orderflow.bench.copies.reading import FileTask, OneFile
from orderflow.bench.service_data import open_connection
from orderflow.cli.output import say
from orderflow.connect import deploy
from orderflow.connect.rest import ConnectClient
from orderflow.connect.warehouse import make_table
from orderflow.contracts.events import PaymentSucceeded
from orderflow.contracts.roster import PAYMENTS_WAREHOUSE, row
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka import reader
from orderflow.stack.addresses import database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts import connect, extra_packages, jars
from orderflow.stack.parts.fetch import fetch_uses
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials import records
from orderflow.trials.harness import access, database, new_database, pid_of, ratio, wait_for
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.processes import generating, running, with_task

WAREHOUSE, NAIVE = "sink connector", "Python loop, 500 rows a statement"
LAKE, READ, ONE_FILE = "lake exporter", "read into memory, one file", "one file alone"
ONE_FILE_PROCESS = "orderflow.bench.copies.one_file"
SINK = PAYMENTS_WAREHOUSE.group
EXPORTER = row("lake")
(PROCESS,) = (process.name for process in EXPORTER.runs)
WORKER = "connect"
FLUSH_RECORDS_MAX = 5_000
LEAD = 20
"""Payments that both copies have before those that are timed."""

LOOK_EVERY_S = 0.1
COPIED_WITHIN_S = 180.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`payments` for each round, and a twentieth as many refunds. `flush_s`: the lake's setting."""

    payments: int = 20_000
    rounds: int = 1
    rate_per_s: int = 100
    paced_s: float = 20.0
    warm_up_payments: int = 5_000
    flush_s: float = 5.0

    @property
    def flush_records(self) -> int:
        """The lake's default, or less, so that a backlog is several flushes."""
        return min(FLUSH_RECORDS_MAX, self.payments // 4)


SMOKE = Plan(payments=6_000, rate_per_s=50, paced_s=3.0, warm_up_payments=100, flush_s=1.0)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """
    From the first rows that were there until the last; CPU of the copying process in the same time,
    and its resident memory at the end. The exporter's last two flushes are left out: it
    waits for more before it writes them.
    """

    target: str
    rows: int
    per_s: float
    cpu_us_per_row: float
    memory_mb: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratios`: ours against each baseline, medians of the same run."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratios: dict[str, float]
    paced: Paced


def run(plan: Plan) -> Report:
    machine = this_machine()
    fetch_uses(jars.default_cache_dir(), jars.NEEDED_BY["connect"])
    extra_packages.ensure(extra_packages.LAKE, lambda line: say(line, to_stderr=True))
    flush = {
        "ORDERFLOW_LAKE__FLUSH_S": str(plan.flush_s),
        "ORDERFLOW_LAKE__FLUSH_RECORDS": str(plan.flush_records),
    }

    turns: list[Turn] = []
    services = (*INFRASTRUCTURE, "connect", EXPORTER.name)
    with (
        temporary_stack(services, environment=flush) as stack,
        ConnectClient(connect.url(stack.settings)) as client,
    ):
        bench = _Bench(stack, client, plan)
        bench.turns(plan.warm_up_payments, warm_up=True)
        for _ in range(plan.rounds):
            turns += bench.turns(plan.payments)
        paced = bench.paced()

    pairs = ((WAREHOUSE, NAIVE), (LAKE, READ), (LAKE, ONE_FILE))
    ratios = {f"{ours} / {other}": ratio(turns, ours, other) for ours, other in pairs}
    return Report(machine=machine, plan=plan, turns=turns, ratios=ratios, paced=paced)


class _Table:
    """A table of payments, and what it must have in it."""

    def __init__(self, dsn: str) -> None:
        self.connection = open_connection(dsn)
        self._events = self._amount_minor = 0

    def expect(self, events: int, amount_minor: int) -> None:
        self._events += events
        self._amount_minor += amount_minor

    def missing(self) -> int:
        """How many events are not there: a payment is a row, its refund a column of it."""
        return self._events - self._sums()[0]

    def verify(self) -> None:
        if self._sums() != (self._events, self._amount_minor):
            raise OrderflowError("the copy has not what was produced: no figure")

    def _sums(self) -> tuple[int, int]:
        (sums,) = self.connection.execute(
            b"SELECT count(*) + count(refund_id), coalesce(sum(amount_minor), 0)::bigint "
            b"FROM payments"
        ).fetchall()
        return int(sums[0]), int(sums[1])


class _Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on the topic: from `start` on, at these offsets."""

    start: dict[int, int]
    offsets: Offsets
    rows: int
    amount_minor: int


class _Bench:
    """One stack. What the sink has filled stays there; so has the loop's table as many rows."""

    def __init__(self, stack: LocalStack, client: ConnectClient, plan: Plan) -> None:
        self._stack, self._client, self._plan = stack, client, plan
        self._access = access(stack)
        self._draw = random.Random(1)
        self._number = 0
        self._warehouse = _Table(database_url(stack.settings, connect.WAREHOUSE))
        self._naive_dsn = new_database(stack, "bench_copies")
        make_table(database(self._naive_dsn))
        self._naive = _Table(self._naive_dsn)
        partitions = reader.end_offsets(self._access.kafka, PAYMENTS.name)
        self._committed = watch.Committed(self._access.kafka, EXPORTER.group, partitions)

    def turns(self, payments: int, *, warm_up: bool = False) -> list[Turn]:
        """The same backlog for all."""
        self._rest()
        backlog = self._produce(payments)
        if warm_up:
            self._go_on()
            self._wait_until_copied(backlog)
            return []
        return [
            self._sink_turn(backlog),
            self._naive_turn(backlog),
            self._lake_turn(backlog),
            *self._one_file_turns(backlog),
        ]

    def paced(self) -> Paced:
        """Both copies run, as they do in `orderflow up --with connect`."""
        self._go_on()
        self._wait_until_copied(self._produce(LEAD))
        copies = paced.Copies(
            warehouse=self._warehouse.connection,
            lake=self._committed,
            worker_pid=pid_of(self._stack, WORKER),
            exporter_pid=pid_of(self._stack, PROCESS),
        )
        rate = paced.Rate(per_s=self._plan.rate_per_s, seconds=self._plan.paced_s)
        return paced.measure(copies, self._access, rate, draw=self._draw)

    def _produce(self, payments: int) -> _Backlog:
        self._number += 1
        kafka = self._access.kafka
        start = reader.end_offsets(kafka, PAYMENTS.name)
        events = load.with_refunds(payments, draw=self._draw)
        encoded = records.encoded(PAYMENTS.name, events, self._access.registry)
        offsets = load.preload(kafka, encoded, name=f"backlog-{self._number}")

        amount_minor = sum(
            event.amount_minor for event in events if isinstance(event, PaymentSucceeded)
        )
        self._warehouse.expect(len(events), amount_minor)
        return _Backlog(start=start, offsets=offsets, rows=len(events), amount_minor=amount_minor)

    def _rest(self) -> None:
        """Neither copies anything."""
        self._client.stop(SINK)
        wait_for(self._is_stopped, within_s=COPIED_WITHIN_S, what="the sink stops")
        if self._stack.find(PROCESS).is_up:
            self._stack.stop_process(PROCESS)

    def _is_stopped(self) -> bool:
        state = self._client.state(SINK)
        return state.state == "STOPPED" and not state.tasks

    def _go_on(self) -> None:
        self._client.resume(SINK)
        self._stack.start_process(PROCESS)
        deploy.wait_until_running(self._client, SINK)

    def _wait_until_copied(self, backlog: _Backlog) -> None:
        wait_for(
            lambda: self._warehouse.missing() == 0 and self._in_lake(backlog) == backlog.rows,
            within_s=COPIED_WITHIN_S,
            what="both copies have the backlog",
        )

    def _in_lake(self, backlog: _Backlog) -> int:
        return self._committed.count(backlog.offsets)

    def _sink_turn(self, backlog: _Backlog) -> Turn:
        self._client.resume(SINK)
        turn = _measured(
            WAREHOUSE,
            lambda: backlog.rows - self._warehouse.missing(),
            enough=backlog.rows,
            pid=pid_of(self._stack, WORKER),
        )
        self._warehouse.verify()
        self._rest()
        return turn

    def _naive_turn(self, backlog: _Backlog) -> Turn:
        self._naive.expect(backlog.rows, backlog.amount_minor)
        task = naive.Task(**self._input(backlog), dsn=self._naive_dsn)
        with running(with_task(naive.__name__, task), self._access.environment) as pid:
            turn = _measured(
                NAIVE,
                lambda: backlog.rows - self._naive.missing(),
                enough=backlog.rows,
                pid=pid,
            )
        self._naive.verify()
        return turn

    def _lake_turn(self, backlog: _Backlog) -> Turn:
        self._stack.start_process(PROCESS)
        turn = _measured(
            LAKE,
            lambda: self._in_lake(backlog),
            # What is about a flush, or less, may wait for more until `flush_s` is over.
            enough=backlog.rows - 2 * self._plan.flush_records,
            pid=pid_of(self._stack, PROCESS),
        )

        wait_for(
            lambda: self._in_lake(backlog) == backlog.rows,
            within_s=COPIED_WITHIN_S,
            what="the lake has the backlog",
        )
        self._stack.stop_process(PROCESS)
        return turn

    def _one_file_turns(self, backlog: _Backlog) -> list[Turn]:
        task = FileTask(**self._input(backlog), rows=backlog.rows)
        with generating(with_task(ONE_FILE_PROCESS, task), OneFile) as process:
            done = process.result()
        if done.rows != backlog.rows:
            raise OrderflowError("the file has not what was produced: no figure")

        whole = _of_file(READ, done, done.read_s + done.write_s, done.read_cpu_s + done.write_cpu_s)
        return [whole, _of_file(ONE_FILE, done, done.write_s, done.write_cpu_s)]

    def _input(self, backlog: _Backlog) -> dict[str, Any]:
        return {
            "bootstrap_servers": self._access.kafka.bootstrap_servers,
            "registry_url": self._access.registry.url,
            "group": f"bench-copies-{self._number}",
            "start": backlog.start,
        }


def _measured(target: str, count: Callable[[], int], *, enough: int, pid: int) -> Turn:
    """From the first rows that `count` sees until there are `enough`."""
    wait_for(lambda: count() > 0, within_s=COPIED_WITHIN_S, what=f"{target}: the first rows")
    first, began, cpu_before = count(), time.monotonic(), cpu_seconds(pid)
    deadline = began + COPIED_WITHIN_S
    while (rows := count()) < enough:
        if time.monotonic() > deadline:
            raise OrderflowError(f"{target}: {rows} of {enough} rows in {COPIED_WITHIN_S:.0f} s")
        time.sleep(LOOK_EVERY_S)

    elapsed_s, cpu_s = time.monotonic() - began, cpu_seconds(pid) - cpu_before
    if rows == first:
        raise OrderflowError(f"{target}: all {rows} rows came at once: too few for a rate")
    return Turn(
        target=target,
        rows=rows - first,
        per_s=(rows - first) / elapsed_s,
        cpu_us_per_row=1e6 * cpu_s / (rows - first),
        memory_mb=memory_mb(pid),
    )


def _of_file(target: str, done: OneFile, elapsed_s: float, cpu_s: float) -> Turn:
    return Turn(
        target=target,
        rows=done.rows,
        per_s=done.rows / elapsed_s,
        cpu_us_per_row=1e6 * cpu_s / done.rows,
        memory_mb=done.memory_mb,
    )
