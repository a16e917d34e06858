"""
`orderflow bench inventory`: payments that wait on a topic become reservations, beside a transaction for each event; and
how long an order is on its way from POST to the shelf.

Ours is the inventory service's own listener process. A fifth of the events come twice; what is reserved is compared
with what is on the shelf, piece by piece. The way from POST is through all services, the simulated provider included.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.table import Table

from orderflow.bench import flow, naive_inventory, records
from orderflow.bench.instance import running
from orderflow.bench.machine import Machine, cpu_seconds, this_machine
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.postgres import Connection, array, connect
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.stack.addresses import api_url, database_url, process_environment
from orderflow.stack.local import LocalStack
from orderflow.stack.parts import postgres
from orderflow.stack.ports import free_ports
from orderflow.stack.private import private_stack
from orderflow.stack.settings import ALL

OURS, NAIVE = "orderflow inventory", "a transaction for each event"
TWICE = 0.2
ON_HAND = 60
FLOW_SKU, PLENTY = "KEYBOARD-01", 1_000_000
DONE_WITHIN_S = 300.0
TICK_S = 0.02


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`events` preloaded for each turn, a fifth of them repeats; the naive baseline does `naive_events` of them."""

    events: int = 20_000
    naive_events: int = 3_000
    skus: int = 1_000
    rounds: int = 3
    rates_per_s: tuple[int, ...] = (200,)
    paced_s: float = 20.0
    warm_up_s: float = 30.0


SMOKE = Plan(events=3_000, naive_events=300, skus=100, rounds=1, paced_s=3.0, warm_up_s=1.0)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """From the first effect that was seen in the database to the last; CPU is the listener's, over the same time."""

    target: str
    events: int
    per_s: float
    cpu_us_per_event: float
    reserved: int
    rejected: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio`: ours against the baseline, medians of the same run. Every turn's stock was exactly right."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratio: float
    flows: list[flow.Flow]


def run(plan: Plan) -> Report:
    machine = this_machine()
    turns: list[Turn] = []
    with private_stack(ALL) as stack:
        bench = _Bench(stack, plan)
        records.warm_up(bench.servers, plan.warm_up_s)
        flows = bench.flows()
        bench.stop_services()
        for number in range(plan.rounds):
            turns += bench.turns(number)
    ratio = _median(turns, OURS) / _median(turns, NAIVE)
    return Report(machine=machine, plan=plan, turns=turns, ratio=ratio, flows=flows)


class _Bench:
    """One stack; ours and the baseline have a database each, with the same tables and the same shelf."""

    def __init__(self, stack: LocalStack, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        quiet = {"ORDERFLOW_TELEMETRY__LOG_LEVEL": "warning"}
        self._environment = {**os.environ, **process_environment(stack.settings), **quiet}
        self.servers = KafkaSettings(
            bootstrap_servers=self._environment["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"]
        )
        self._dsn = {OURS: database_url(stack.settings, "inventory"), NAIVE: self._naive_database()}

    def flows(self) -> list[flow.Flow]:
        with _connection(self._dsn[OURS]) as connection:
            connection.execute(_SEED, (array([FLOW_SKU]), PLENTY))
        url = api_url(self._stack.settings, "order")

        def measure(rate: int, seconds: float, seed: int) -> flow.Flow:
            return flow.measure(
                self.servers, url, sku=FLOW_SKU, rate_per_s=rate, seconds=seconds, seed=seed
            )

        measure(self._plan.rates_per_s[0], min(10.0, self._plan.paced_s), 0)
        return [
            measure(rate, self._plan.paced_s, seed + 1)
            for seed in range(self._plan.rounds)
            for rate in self._plan.rates_per_s
        ]

    def stop_services(self) -> None:
        for name, one in self._stack.managed.items():
            if one.component.service in _OURS and not one.component.once:
                self._stack.stop_process(name)

    def turns(self, number: int) -> list[Turn]:
        """Ours and the baseline over the same events."""
        skus = [f"SKU-{number}-{index}" for index in range(self._plan.skus)]
        for dsn in self._dsn.values():
            with _connection(dsn) as connection:
                connection.execute(_SEED, (array(skus), ON_HAND))
        draw = random.Random(number)
        topic, registry_url = PAYMENTS.name, self._environment["ORDERFLOW_REGISTRY__URL"]
        once = round(self._plan.events * (1 - TWICE))
        made = records.encoded(topic, records.payments(once, skus=skus, draw=draw), registry_url)
        made += draw.sample(made, self._plan.events - once)
        draw.shuffle(made)
        start = end_offsets(self.servers, topic)
        records.produce(self.servers, topic, made)
        with self._ours() as pid:
            ours = self._measure(OURS, pid, distinct=once, events=len(made), skus=skus)
        with self._naive(start, number) as pid:
            # Of the first events about as many are repeats as of all.
            part = self._plan.naive_events / self._plan.events
            naive = self._measure(
                NAIVE, pid, distinct=round(once * part), events=round(len(made) * part), skus=skus
            )
        return [ours, naive]

    def _measure(
        self, target: str, pid: int, *, distinct: int, events: int, skus: list[str]
    ) -> Turn:
        with _connection(self._dsn[target]) as connection:
            _until(connection, skus, 1)
            first, began, cpu = _count(connection, skus), time.monotonic(), cpu_seconds(pid)
            last = _until(connection, skus, distinct)
            elapsed, cpu = time.monotonic() - began, cpu_seconds(pid) - cpu
            if target == OURS:
                time.sleep(1.0)  # What came too often would come late.
            reserved, rejected = _verified(connection, skus, distinct if target == OURS else None)
        if last == first:
            raise OrderflowError(f"all {distinct} events were handled at once: too few for a rate")
        done = (last - first) * events / distinct
        return Turn(
            target=target,
            events=events,
            per_s=done / elapsed,
            cpu_us_per_event=1e6 * cpu / done,
            reserved=reserved,
            rejected=rejected,
        )

    @contextmanager
    def _ours(self) -> Iterator[int]:
        port = {"ORDERFLOW_INVENTORY__LISTENER__PORT": str(free_ports(1, start=8_300)[0])}
        command = (sys.executable, "-m", "orderflow.services.inventory", "--roles", "listener")
        with running(command, {**self._environment, **port}) as pid:
            yield pid

    @contextmanager
    def _naive(self, start: Mapping[int, int], number: int) -> Iterator[int]:
        task = naive_inventory.Task(
            bootstrap_servers=self.servers.bootstrap_servers,
            registry_url=self._environment["ORDERFLOW_REGISTRY__URL"],
            dsn=self._dsn[NAIVE],
            group=f"bench-naive-{number}",
            start=dict(start),
        )
        command = (
            sys.executable,
            "-m",
            "orderflow.bench.naive_inventory",
            msgspec.json.encode(task).decode(),
        )
        with running(command, self._environment) as pid:
            yield pid

    def _naive_database(self) -> str:
        postgres.create_database(self._stack.settings.ports.postgres, "naive_inventory")
        dsn = database_url(self._stack.settings, "naive_inventory")
        command = (sys.executable, "-m", "orderflow.services.inventory", "--roles", "migrate")
        environment = {**self._environment, "ORDERFLOW_INVENTORY__DATABASE__DSN": dsn}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return dsn


_OURS = ("order", "payment", "inventory", "psp")


def _connection(dsn: str) -> Connection:
    return connect(
        DatabaseSettings.model_validate({"dsn": dsn}), application_name="bench", autocommit=True
    )


def _count(connection: Connection, skus: list[str]) -> int:
    """Orders of this turn that are decided. By the first line's SKU, which names the turn."""
    row = connection.execute(_DECIDED, (f"{skus[0].rpartition('-')[0]}-%",)).fetchone()
    assert row is not None
    return int(row[0])


def _until(connection: Connection, skus: list[str], count: int) -> int:
    deadline = time.monotonic() + DONE_WITHIN_S
    while (found := _count(connection, skus)) < count:
        if time.monotonic() > deadline:
            raise OrderflowError(
                f"{found} of {count} orders were decided within {DONE_WITHIN_S:.0f} s"
            )
        time.sleep(TICK_S)
    return found


def _verified(connection: Connection, skus: list[str], distinct: int | None) -> tuple[int, int]:
    """How many orders were reserved and rejected. Raises OrderflowError if the shelf does not add up."""
    (wrong,) = connection.execute(_WRONG).fetchone() or (0,)
    if wrong:
        raise OrderflowError(
            f"{wrong} SKUs have not reserved what their reservations say: no figure"
        )
    pattern = f"{skus[0].rpartition('-')[0]}-%"
    reserved, rejected = connection.execute(_ENDED, (pattern,)).fetchone() or (0, 0)
    if distinct is not None and reserved + rejected != distinct:
        raise OrderflowError(
            f"{distinct} orders, but {reserved + rejected} reservations: no figure"
        )
    return reserved, rejected


def _median(turns: list[Turn], target: str) -> float:
    return statistics.median(turn.per_s for turn in turns if turn.target == target)


def show(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    console = Console(highlight=False)
    table = Table(
        "payments → stock", "events/s", "min–max", "listener µs/event", "reserved", "rejected"
    )
    for name in (OURS, NAIVE):
        found = [turn for turn in report.turns if turn.target == name]
        rates = [turn.per_s for turn in found]
        table.add_row(
            name,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            f"{statistics.median(turn.cpu_us_per_event for turn in found):,.0f}",
            f"{sum(turn.reserved for turn in found):,}",
            f"{sum(turn.rejected for turn in found):,}",
        )
    console.print(table)
    console.print(
        f"{report.ratio:.1f} × {NAIVE}; a fifth of the events came twice; every turn's stock was exactly right"
    )
    ways = Table("POST → inventory", "p50 ms", "p99 ms", "share of p50", "void")
    for rate in report.plan.rates_per_s:
        of_rate = [one for one in report.flows if one.rate_per_s == rate]
        void = f"{sum(one.is_void for one in of_rate)} of {len(of_rate)}"
        whole = statistics.median(one.whole.p50_ms for one in of_rate)
        worst = statistics.median(one.whole.p99_ms for one in of_rate)
        ways.add_row(f"at {rate}/s", f"{whole:.1f}", f"{worst:.1f}", "", void)
        for name in flow.HOPS:
            middle = statistics.median(one.hops[name].p50_ms for one in of_rate)
            late = statistics.median(one.hops[name].p99_ms for one in of_rate)
            ways.add_row(
                f"  {name}", f"{middle:.1f}", f"{late:.1f}", f"{100 * middle / whole:.0f} %", ""
            )
    console.print(ways)
    console.print(
        f"void: orders were posted more than {flow.LAG_MAX_MS:.0f} ms late at p99; such a turn counts for nothing"
    )
    console.print(f"{report.machine.cores} cores, {report.machine.cpu}")


_SEED = """
INSERT INTO stock (sku, on_hand) SELECT unnest(%s::text[]), %s
ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand
"""
_DECIDED = "SELECT count(*) FROM reservation WHERE lines->0->>'sku' LIKE %s"
_ENDED = """
SELECT count(*) FILTER (WHERE status = 'RESERVED'), count(*) FILTER (WHERE status = 'REJECTED')
FROM reservation WHERE lines->0->>'sku' LIKE %s
"""
_WRONG = """
WITH held AS (
    SELECT line->>'sku' AS sku, sum((line->>'quantity')::int) AS pieces
    FROM reservation, jsonb_array_elements(lines) AS line WHERE status = 'RESERVED' GROUP BY 1
)
SELECT count(*) FROM stock LEFT JOIN held USING (sku)
WHERE stock.reserved <> coalesce(held.pieces, 0) OR stock.reserved > stock.on_hand OR stock.reserved < 0
"""
