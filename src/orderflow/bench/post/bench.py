"""
`orderflow bench post`: durable orders per second over HTTP, beside a transaction per request.

Both write to the same PostgreSQL with the same durability, in turns (A, B, A, B, …) after a
warm-up. The relay is stopped meanwhile; the time in which it then publishes the backlog is
reported apart. Orders that were answered 201 are counted again in the database: a figure with a
lost order would be worth nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
import msgspec

from orderflow.bench.post import closed_loop
from orderflow.bench.service_data import count_orders
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.ports import HOST, free_ports, is_open
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.harness import new_database, pid_of, ratio, wait_for
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.processes import python_module, running

ORDER = (
    '{"customerId":"customer-123","lines":'
    '[{"sku":"KEYBOARD-01","quantity":2},{"sku":"MOUSE-01","quantity":1}]}'
)
OURS, NAIVE = "orderflow", "naive"
BACKLOG_WITHIN_S = 600


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`rounds` turns of each side for each number of connections."""

    connections: tuple[int, ...]
    rounds: int
    seconds: float
    warm_up_s: float


class Target(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    url: str
    pid: int
    dsn: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in microseconds for each order: of the API's process, and of all of PostgreSQL."""

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

    def of_connections(self, count: int) -> list[Turn]:
        return _of_connections(self.turns, count)


def run(plan: Plan) -> Report:
    machine = this_machine()
    with temporary_stack() as stack, _naive(stack) as naive:
        targets = (_ours(stack), naive)
        relay = urlsplit(stack.find("order-relay").component.address).port
        stack.stop_process("order-relay")

        answered = Counter[str]()
        for target in targets:
            answered[target.name] += _load(target, plan.connections[0], plan.warm_up_s).done
        turns = _turns(plan, targets, pid_of(stack, "postgres"), answered)

        for target in targets:
            _verify(target, at_least=answered[target.name])
        drain = _drain(stack, f"http://{HOST}:{relay}/metrics", targets[0])

    return Report(
        machine=machine,
        generator=closed_loop.generator(),
        turns=turns,
        ratio_by_connections={
            count: ratio(_of_connections(turns, count), OURS, NAIVE) for count in plan.connections
        },
        orders_verified=answered.total(),
        drain=drain,
    )


def _turns(
    plan: Plan, targets: tuple[Target, ...], server_pid: int, answered: Counter[str]
) -> list[Turn]:
    turns = []
    for connections in plan.connections:
        for _ in range(plan.rounds):
            for target in targets:
                turn, orders = _turn(target, connections, plan.seconds, server_pid)
                answered[target.name] += orders
                turns.append(turn)
    return turns


def _turn(target: Target, connections: int, seconds: float, server_pid: int) -> tuple[Turn, int]:
    """One turn, and how many orders were answered in it."""
    before = cpu_seconds(target.pid), cpu_seconds(server_pid)
    load = _load(target, connections, seconds)
    after = cpu_seconds(target.pid), cpu_seconds(server_pid)

    api_cpu, database_cpu = (
        1e6 * (end - start) / load.done for start, end in zip(before, after, strict=True)
    )
    turn = Turn(
        target=target.name,
        connections=connections,
        per_s=load.per_s,
        p50_ms=load.p50_us / 1000,
        p99_ms=load.p99_us / 1000,
        api_cpu_us=api_cpu,
        database_cpu_us=database_cpu,
    )
    return turn, load.done


def _load(target: Target, connections: int, seconds: float) -> closed_loop.Result:
    result = closed_loop.post(target.url, ORDER, connections=connections, duration_s=seconds)
    if result.refused or result.broken or not result.done:
        raise closed_loop.LoadFailed(
            f"{result.refused} answers were refusals, {result.broken} connections broke: no figure"
        )
    return result


def _ours(stack: LocalStack) -> Target:
    return Target(
        name=OURS,
        url=f"{api_url(stack.settings, 'order')}/orders",
        pid=pid_of(stack, "order-api"),
        dsn=database_url(stack.settings, "order"),
    )


@contextmanager
def _naive(stack: LocalStack) -> Iterator[Target]:
    dsn, (port,) = new_database(stack, "naive"), free_ports(1, start=7_000)
    with running(python_module("orderflow.bench.post.naive", str(port), dsn)) as pid:
        wait_for(lambda: is_open(port), within_s=30, what="the baseline's server")
        yield Target(name=NAIVE, url=f"http://{HOST}:{port}/orders", pid=pid, dsn=dsn)


def _verify(target: Target, *, at_least: int) -> None:
    """
    Raises OrderflowError if the database has fewer orders than were answered 201.

    It may have a few more: wrk cuts off what is under way at its end.
    """
    orders = count_orders(target.dsn)
    if orders < at_least:
        raise OrderflowError(
            f"{at_least} orders were answered 201, but {orders} are in the database"
        )


def _drain(stack: LocalStack, metrics: str, ours: Target) -> Drain:
    records = 2 * count_orders(ours.dsn)  # OrderCreated and OrderEvent
    began = time.monotonic()
    stack.start_process("order-relay")
    wait_for(
        lambda: _published(metrics) >= records,
        within_s=BACKLOG_WITHIN_S,
        what="the backlog's last record",
    )
    seconds = time.monotonic() - began
    return Drain(records=records, seconds=seconds, records_per_s=records / seconds)


def _published(metrics: str) -> int:
    """How many records the relay has published since its start, by its own counter."""
    lines = httpx2.get(metrics, timeout=5, trust_env=False).text.splitlines()
    return sum(
        int(float(line.split()[1]))
        for line in lines
        if line.startswith("orderflow_relay_records_total{")
    )


def _of_connections(turns: list[Turn], count: int) -> list[Turn]:
    return [turn for turn in turns if turn.connections == count]
