"""
`orderflow bench post`: durable orders per second over HTTP, beside a transaction per request, in the same run.

Both write to the same PostgreSQL with the same durability, in turns (A, B, A, B, …) after a warm-up. The relay is
stopped meanwhile; what it then needs to publish the backlog is reported apart. What was answered 201 is counted again
in the database: a figure with a lost order would be worth nothing.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec
from rich.console import Console
from rich.table import Table

from orderflow.bench import load
from orderflow.bench.machine import Machine, cpu_seconds, this_machine
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.postgres import connect
from orderflow.messaging.settings import DatabaseSettings
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local import LocalStack
from orderflow.stack.parts import postgres
from orderflow.stack.ports import HOST, free_ports, is_open
from orderflow.stack.private import private_stack

ORDER = '{"customerId":"customer-123","lines":[{"sku":"KEYBOARD-01","quantity":2},{"sku":"MOUSE-01","quantity":1}]}'
OURS, NAIVE = "orderflow", "naive"
BACKLOG_WITHIN_S = 600


class Target(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    pid: int
    database_url: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. CPU in microseconds per order: of the API's process, and of all of PostgreSQL."""

    target: str
    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    api_cpu_us: float
    database_cpu_us: float


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """From the relay's start to the last record of the backlog, its start-up included."""

    records: int
    seconds: float
    records_per_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    generator: str
    turns: list[Turn]
    ratio_by_connections: dict[int, float]
    orders_verified: int
    drain: Drain


def run(*, connections: tuple[int, ...], rounds: int, seconds: float, warm_up_s: float) -> Report:
    machine = this_machine()
    with private_stack() as stack, _naive(stack) as naive:
        targets = {OURS: _ours(stack), NAIVE: naive}
        relay = urlsplit(stack.find("order-relay").component.address).port
        stack.stop_process("order-relay")
        server = _pid(stack, "postgres")
        done = dict.fromkeys(targets, 0)
        for name, target in targets.items():
            done[name] += _load(target, connections[0], warm_up_s).done
        turns = []
        for count in connections:
            for _ in range(rounds):
                for name, target in targets.items():
                    turn, orders = _turn(name, target, count, seconds, server)
                    done[name] += orders
                    turns.append(turn)
        for name, target in targets.items():
            _verify(target, at_least=done[name])
        drain = _drain(stack, f"http://{HOST}:{relay}/metrics", targets[OURS])
    return Report(
        machine=machine,
        generator=load.generator(),
        turns=turns,
        ratio_by_connections={count: _ratio(turns, count) for count in connections},
        orders_verified=sum(done.values()),
        drain=drain,
    )


def _turn(
    name: str, target: Target, connections: int, seconds: float, server: int
) -> tuple[Turn, int]:
    before = cpu_seconds(target.pid), cpu_seconds(server)
    answered = _load(target, connections, seconds)
    after = cpu_seconds(target.pid), cpu_seconds(server)
    api_cpu, database_cpu = (
        1e6 * (end - start) / answered.done for start, end in zip(before, after, strict=True)
    )
    turn = Turn(
        target=name,
        connections=connections,
        per_s=answered.per_s,
        p50_ms=answered.p50_us / 1000,
        p99_ms=answered.p99_us / 1000,
        api_cpu_us=api_cpu,
        database_cpu_us=database_cpu,
    )
    return turn, answered.done


def _load(target: Target, connections: int, seconds: float) -> load.Load:
    answered = load.post(target.url, ORDER, connections=connections, duration_s=seconds)
    if answered.refused or answered.broken or not answered.done:
        raise load.LoadFailed(
            f"{answered.refused} answers were refusals, {answered.broken} connections broke: no figure"
        )
    return answered


def _ours(stack: LocalStack) -> Target:
    return Target(
        url=f"{api_url(stack.settings, 'order')}/orders",
        pid=_pid(stack, "order-api"),
        database_url=database_url(stack.settings, "order"),
    )


@contextmanager
def _naive(stack: LocalStack) -> Iterator[Target]:
    postgres.create_database(stack.settings.ports.postgres, "naive")
    url, (port,) = database_url(stack.settings, "naive"), free_ports(1, start=7_000)
    server = subprocess.Popen((sys.executable, "-m", "orderflow.bench.naive_post", str(port), url))
    try:
        _wait(lambda: is_open(port), within_s=30, what="the baseline's server")
        yield Target(url=f"http://{HOST}:{port}/orders", pid=server.pid, database_url=url)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _verify(target: Target, *, at_least: int) -> None:
    """wrk cuts off what is under way at its end, so there may be a few more orders than answers, never fewer."""
    found = _count(target)
    if found < at_least:
        raise OrderflowError(
            f"{at_least} orders were answered 201, but {found} are in the database"
        )


def _count(target: Target) -> int:
    settings = DatabaseSettings.model_validate({"dsn": target.database_url})
    with connect(settings, application_name="bench") as connection:
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert row is not None
    return int(row[0])


def _drain(stack: LocalStack, metrics: str, ours: Target) -> Drain:
    records = 2 * _count(ours)  # OrderCreated and OrderEvent
    began = time.monotonic()
    stack.start_process("order-relay")
    _wait(
        lambda: _published(metrics) >= records,
        within_s=BACKLOG_WITHIN_S,
        what="the backlog's last record",
    )
    seconds = time.monotonic() - began
    return Drain(records=records, seconds=seconds, records_per_s=records / seconds)


def _published(metrics: str) -> int:
    with urlopen(metrics, timeout=5) as answer:  # noqa: S310 - our own address
        lines = answer.read().decode().splitlines()
    return sum(
        int(float(line.split()[1]))
        for line in lines
        if line.startswith("orderflow_relay_records_total ")
    )


def _wait(probe: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not probe():
        if time.monotonic() > deadline:
            raise OrderflowError(f"{what}: not within {within_s} s")
        time.sleep(0.02)


def _pid(stack: LocalStack, name: str) -> int:
    child = stack.find(name).child
    assert child is not None
    return child.pid


def _ratio(turns: list[Turn], connections: int) -> float:
    ours, naive = (_median(turns, name, connections) for name in (OURS, NAIVE))
    return ours / naive


def _median(turns: list[Turn], target: str, connections: int) -> float:
    return statistics.median(
        turn.per_s for turn in turns if (turn.target, turn.connections) == (target, connections)
    )


def show(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    table = Table("", "conn.", "orders/s", "min–max", "p50 ms", "p99 ms", "API µs", "PG µs")
    for count in report.ratio_by_connections:
        for name in (OURS, NAIVE):
            turns = [
                turn for turn in report.turns if (turn.target, turn.connections) == (name, count)
            ]
            rates = [turn.per_s for turn in turns]
            medians = [
                statistics.median(getattr(turn, field) for turn in turns)
                for field in ("p50_ms", "p99_ms", "api_cpu_us", "database_cpu_us")
            ]
            table.add_row(
                name,
                str(count),
                f"{statistics.median(rates):,.0f}",
                f"{min(rates):,.0f}–{max(rates):,.0f}",
                *(f"{value:.1f}" for value in medians),
            )
    console, drain = Console(highlight=False), report.drain
    console.print(table)
    console.print(
        "naive: the same HTTP stack, an asyncpg pool of 32, BEGIN + 2 INSERT + COMMIT for each request"
    )
    console.print(
        "API µs, PG µs: CPU for each order, in the API's process and in all of PostgreSQL"
    )
    for count, ratio in report.ratio_by_connections.items():
        console.print(f"{count} connections: {ratio:.1f} × naive")
    console.print(
        f"relay, started afterwards: {drain.records:,} records in {drain.seconds:.1f} s, its start included"
    )
    console.print(f"{report.orders_verified:,} orders answered 201, all found in the database")
    console.print(f"load by {report.generator}; {report.machine.cores} cores, {report.machine.cpu}")
