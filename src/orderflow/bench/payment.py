"""
`orderflow bench payment`: orders that wait on a topic become payments, beside two baselines, in the same run.

Ours is the payment service's own listener, its database included, over a provider in its own process that answers at
once: called on the listener's thread, and through the pool. Baselines: one Kafka transaction for each record, tuned and
without a database; and the very same listener without transactions (flush, then a synchronous offset commit). Then ours
over a provider that takes its time. Every turn has a group and a database of its own, and counts what came twice or
never.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import msgspec
from rich.console import Console
from rich.table import Table

from orderflow.bench import naive_payment, payment_worker, records
from orderflow.bench.instance import running
from orderflow.bench.machine import Machine, cpu_seconds, this_machine
from orderflow.bench.reader import Arrivals, Reader
from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import PaymentSucceeded
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import CE_ID, EventId, derived_id
from orderflow.messaging.kafka import admin, groups
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack.addresses import database_url, process_environment
from orderflow.stack.local import LocalStack
from orderflow.stack.parts import postgres
from orderflow.stack.private import INFRASTRUCTURE, private_stack

OWNER, POOL, PLAIN, NAIVE = "owner thread", "pool", "no transactions", "one transaction each"
SLOW, TAIL = "provider takes 100 ms", "and 2 % of calls 3 s"
ARRIVED_WITHIN_S = 300.0
SETTLE_S = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Orders preloaded for each turn of ours, of the naive baseline, and of ours over a slow provider."""

    records: int = 20_000
    naive_records: int = 400
    slow_records: int = 4_000
    rounds: int = 3
    warm_up_s: float = 30.0
    warm_up_records: int = 20_000


SMOKE = Plan(
    records=3_000, naive_records=50, slow_records=300, rounds=1, warm_up_s=1.0, warm_up_records=0
)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """From the first payment that could be read to the last; CPU is the worker's process, over the same time."""

    target: str
    records: int
    per_s: float
    cpu_us_per_record: float
    duplicates: int
    missing: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratios`: ours on the owner's thread against each baseline, medians of the same run."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratios: dict[str, float]


WORKERS: Mapping[str, Mapping[str, object]] = {
    OWNER: {"calls_max": 500, "inline": True},
    POOL: {"calls_max": 128},
    PLAIN: {"calls_max": 500, "inline": True, "transactional": False},
    SLOW: {"calls_max": 128, "latency_s": 0.1},
    TAIL: {"calls_max": 128, "latency_s": 0.1, "slow_share": 0.02},
}


def run(plan: Plan) -> Report:
    machine = this_machine()
    turns: list[Turn] = []
    with private_stack(INFRASTRUCTURE) as stack:
        bench = _Bench(stack)
        records.warm_up(bench.servers, plan.warm_up_s)
        if plan.warm_up_records:
            bench.turn(OWNER, plan.warm_up_records)
        for _ in range(plan.rounds):
            turns += [bench.turn(name, plan.records) for name in (OWNER, POOL, PLAIN)]
            turns.append(bench.turn(NAIVE, plan.naive_records))
        turns += [bench.turn(name, plan.slow_records) for name in (SLOW, TAIL)]
    ratios = {name: _median(turns, OWNER) / _median(turns, name) for name in (NAIVE, PLAIN)}
    return Report(machine=machine, plan=plan, turns=turns, ratios=ratios)


class _Bench:
    """One stack; each turn on top of it stands for itself."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        quiet = {"ORDERFLOW_TELEMETRY__LOG_LEVEL": "warning"}
        self._environment = {**os.environ, **process_environment(stack.settings), **quiet}
        self._registry_url = self._environment["ORDERFLOW_REGISTRY__URL"]
        self._number = 0
        self.servers = KafkaSettings(
            bootstrap_servers=self._environment["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"]
        )

    def turn(self, target: str, count: int) -> Turn:
        self._number += 1
        group = f"bench-{self._number}"
        start = end_offsets(self.servers, ORDERS.name)
        made = records.encoded(ORDERS.name, records.orders(count), self._registry_url)
        records.produce(self.servers, ORDERS.name, made)
        with Reader(self.servers, PAYMENTS.name) as reader:
            running = (
                self._naive(group, start) if target == NAIVE else self._ours(group, start, target)
            )
            with running as pid:
                return _measure(target, reader, wanted={_payment_of(one) for one in made}, pid=pid)

    @contextmanager
    def _ours(self, group: str, start: Mapping[int, int], target: str) -> Iterator[int]:
        cluster = admin.Admin(self.servers)
        extra = (dead_letter_topic(ORDERS, group), replay_topic(ORDERS, group))
        admin.apply(admin.plan(extra, cluster, TopicSettings()), cluster)
        groups.begin_at(self.servers, group, ORDERS.name, start)
        database = group.replace("-", "_")
        postgres.create_database(self._stack.settings.ports.postgres, database)
        dsn = {"ORDERFLOW_PAYMENT__DATABASE__DSN": database_url(self._stack.settings, database)}
        environment = {**self._environment, **dsn}
        migrate = (sys.executable, "-m", "orderflow.services.payment", "--roles", "migrate")
        subprocess.run(migrate, env=environment, check=True, capture_output=True)
        task = msgspec.convert({"group": group, **WORKERS[target]}, payment_worker.Task)
        with running(_worker("orderflow.bench.payment_worker", task), environment) as pid:
            yield pid

    @contextmanager
    def _naive(self, group: str, start: Mapping[int, int]) -> Iterator[int]:
        task = naive_payment.Task(
            bootstrap_servers=self.servers.bootstrap_servers,
            registry_url=self._registry_url,
            group=group,
            start=dict(start),
        )
        with running(_worker("orderflow.bench.naive_payment", task), self._environment) as pid:
            yield pid


def _measure(target: str, reader: Reader, *, wanted: set[str], pid: int) -> Turn:
    got = Arrivals()
    reader.collect(got, 1, within_s=ARRIVED_WITHIN_S)
    first, cpu = got.count, cpu_seconds(pid)
    reader.collect(got, len(wanted), within_s=ARRIVED_WITHIN_S)
    cpu = cpu_seconds(pid) - cpu
    elapsed_ns = got.at_ns[-1] - got.at_ns[0]
    reader.settle(got, SETTLE_S)
    if len(wanted) == first:
        raise OrderflowError(f"all {first} payments came at once: too few for a rate")
    return Turn(
        target=target,
        records=len(wanted),
        per_s=(len(wanted) - first) / (elapsed_ns / 1e9),
        cpu_us_per_record=1e6 * cpu / (len(wanted) - first),
        duplicates=got.duplicates,
        missing=len(wanted - got.ids),
    )


def _payment_of(order: records.Record) -> str:
    """The id that the order's payment must have, whoever makes it."""
    cause = EventId(UUID(dict(order[2])[CE_ID].decode()))
    return str(derived_id(NAMESPACE, cause=cause, event_type=PaymentSucceeded.type_name(), index=0))


def _worker(module: str, task: msgspec.Struct) -> tuple[str, ...]:
    return (sys.executable, "-m", module, msgspec.json.encode(task).decode())


def _median(turns: list[Turn], target: str) -> float:
    return statistics.median(turn.per_s for turn in turns if turn.target == target)


def show(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    table = Table(
        "orders → payments", "turns", "records/s", "min–max", "worker µs/record", "twice", "never"
    )
    for name in (OWNER, POOL, PLAIN, NAIVE, SLOW, TAIL):
        found = [turn for turn in report.turns if turn.target == name]
        rates = [turn.per_s for turn in found]
        table.add_row(
            name,
            f"{len(found)} × {found[0].records:,}",
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            f"{statistics.median(turn.cpu_us_per_record for turn in found):,.1f}",
            str(sum(turn.duplicates for turn in found)),
            str(sum(turn.missing for turn in found)),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "ours with a provider in its own process; intents and outcomes are written to the database all the same"
    )
    for name, ratio in report.ratios.items():
        console.print(f"{ratio:.2f} × {name}")
    console.print(f"{report.machine.cores} cores, {report.machine.cpu}")
