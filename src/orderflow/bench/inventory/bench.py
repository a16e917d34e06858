"""
`orderflow bench inventory`: payments that wait on a topic become reservations, in events per second
beside a transaction for each event; and how long an order takes from POST to its stock event.

Ours is the inventory service's own listener process. A fifth of the events come twice; reservations
are compared with the stock, piece by piece. The way from POST is through all services, the
simulated provider included.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from orderflow.bench.inventory import flow, naive
from orderflow.bench.service_data import (
    count_decided,
    count_reserved_and_rejected,
    open_connection,
    stock_up,
)
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.postgres import Connection
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.ports import free_ports
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials import records
from orderflow.trials.harness import POLL_EVERY_S, access, new_database, ratio
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.processes import python_module, running, with_task

OURS, NAIVE = "orderflow inventory", "a transaction for each event"
STOPPED = ("order", "payment", "inventory", "psp")
"""Services that do not run while listeners are compared."""

TWICE = 0.2
ON_HAND = 60
FLOW_SKU, PLENTY = "KEYBOARD-01", 1_000_000
DONE_WITHIN_S = 300.0
DUPLICATES_WITHIN_S = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`events` for each turn, a fifth of them repeats; the naive baseline does `naive_events`."""

    events: int = 20_000
    naive_events: int = 3_000
    skus: int = 1_000
    rounds: int = 3
    rates_per_s: tuple[int, ...] = (200,)
    paced_s: float = 20.0
    warm_up_s: float = 30.0

    @property
    def orders(self) -> int:
        """How many of the events are not repeats."""
        return round(self.events * (1 - TWICE))


SMOKE = Plan(events=3_000, naive_events=300, skus=100, rounds=1, paced_s=3.0, warm_up_s=1.0)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """From the first effect in the database to the last; CPU of the listener in the same time."""

    target: str
    events: int
    per_s: float
    cpu_us_per_event: float
    reserved: int
    rejected: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio`: ours against the baseline, medians of the same run. Every turn's stock was right."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratio: float
    flows: list[flow.Flow]


def run(plan: Plan) -> Report:
    machine = this_machine()
    turns: list[Turn] = []
    with temporary_stack(ALL) as stack:
        bench = _Bench(stack, plan)
        bench.warm_up()
        flows = bench.flows()
        bench.stop_services()
        for number in range(plan.rounds):
            turns += bench.turns(number)

    return Report(
        machine=machine, plan=plan, turns=turns, ratio=ratio(turns, OURS, NAIVE), flows=flows
    )


class _Bench:
    """One stack; ours and the baseline have a database each, with the same tables and stock."""

    def __init__(self, stack: LocalStack, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        self._access = access(stack)
        self._dsn = {OURS: database_url(stack.settings, "inventory"), NAIVE: self._naive_database()}

    def warm_up(self) -> None:
        records.warm_up(self._access.kafka, self._plan.warm_up_s)

    def flows(self) -> list[flow.Flow]:
        stock_up(self._dsn[OURS], [FLOW_SKU], PLENTY)
        self._flow(self._plan.rates_per_s[0], min(10.0, self._plan.paced_s), seed=0)  # Warm-up.
        return [
            self._flow(rate, self._plan.paced_s, seed=seed + 1)
            for seed in range(self._plan.rounds)
            for rate in self._plan.rates_per_s
        ]

    def stop_services(self) -> None:
        for name, managed in self._stack.managed.items():
            if managed.component.service in STOPPED and not managed.component.once:
                self._stack.stop_process(name)

    def turns(self, number: int) -> list[Turn]:
        """Ours and the baseline over the same events."""
        prefix = f"SKU-{number}"
        skus = [f"{prefix}-{index}" for index in range(self._plan.skus)]
        for dsn in self._dsn.values():
            stock_up(dsn, skus, ON_HAND)
        events = self._events(skus, seed=number)
        start = end_offsets(self._access.kafka, PAYMENTS.name)
        records.produce(self._access.kafka, PAYMENTS.name, events)

        orders = self._plan.orders
        with self._ours() as pid:
            ours = self._measure(OURS, pid, prefix, orders=orders, events=len(events))
        with self._naive(start, number) as pid:
            # Of the first events about as many are repeats as of all.
            part = self._plan.naive_events / self._plan.events
            baseline = self._measure(
                NAIVE, pid, prefix, orders=round(orders * part), events=round(len(events) * part)
            )
        return [ours, baseline]

    def _events(self, skus: list[str], *, seed: int) -> list[records.Record]:
        """Payments in random order, a fifth of them twice."""
        draw = random.Random(seed)
        payments = records.payments(self._plan.orders, skus=skus, draw=draw)
        events = records.encoded(PAYMENTS.name, payments, self._access.registry)
        events += draw.sample(events, self._plan.events - self._plan.orders)
        draw.shuffle(events)
        return events

    def _flow(self, rate: int, seconds: float, *, seed: int) -> flow.Flow:
        url = api_url(self._stack.settings, "order")
        return flow.measure(
            self._access.kafka, url, sku=FLOW_SKU, rate_per_s=rate, seconds=seconds, seed=seed
        )

    def _measure(self, target: str, pid: int, prefix: str, *, orders: int, events: int) -> Turn:
        """
        Wait until `orders` are decided, which `events` are about.

        Raises OrderflowError if stock or reservations are wrong, or if all was decided at once.
        """
        with open_connection(self._dsn[target]) as connection:
            first = _wait_until_decided(connection, prefix, 1)
            began, cpu_before = time.monotonic(), cpu_seconds(pid)
            last = _wait_until_decided(connection, prefix, orders)
            elapsed_s, cpu_s = time.monotonic() - began, cpu_seconds(pid) - cpu_before
            if last == first:
                raise OrderflowError(
                    f"all {orders} events were handled at once: too few for a rate"
                )

            if target == OURS:
                time.sleep(DUPLICATES_WITHIN_S)
            reserved, rejected = count_reserved_and_rejected(connection, prefix)
        # The baseline has not been given the time for all events.
        if target == OURS and reserved + rejected != orders:
            raise OrderflowError(
                f"{orders} orders, but {reserved + rejected} reservations: no figure"
            )

        handled = (last - first) * events / orders
        return Turn(
            target=target,
            events=events,
            per_s=handled / elapsed_s,
            cpu_us_per_event=1e6 * cpu_s / handled,
            reserved=reserved,
            rejected=rejected,
        )

    @contextmanager
    def _ours(self) -> Iterator[int]:
        port = {"ORDERFLOW_INVENTORY__LISTENER__PORT": str(free_ports(1, start=8_300)[0])}
        command = python_module("orderflow.services.inventory", "--roles", "listener")
        with running(command, {**self._access.environment, **port}) as pid:
            yield pid

    @contextmanager
    def _naive(self, start: Mapping[int, int], number: int) -> Iterator[int]:
        task = naive.Task(
            bootstrap_servers=self._access.kafka.bootstrap_servers,
            registry_url=self._access.registry.url,
            dsn=self._dsn[NAIVE],
            group=f"bench-naive-{number}",
            start=dict(start),
        )
        command = with_task("orderflow.bench.inventory.naive", task)
        with running(command, self._access.environment) as pid:
            yield pid

    def _naive_database(self) -> str:
        dsn = new_database(self._stack, "naive_inventory")
        command = python_module("orderflow.services.inventory", "--roles", "migrate")
        environment = {**self._access.environment, "ORDERFLOW_INVENTORY__DATABASE__DSN": dsn}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return dsn


def _wait_until_decided(connection: Connection, prefix: str, count: int) -> int:
    """Returns how many orders are decided. Raises OrderflowError after 300 s."""
    deadline = time.monotonic() + DONE_WITHIN_S
    while (decided := count_decided(connection, prefix)) < count:
        if time.monotonic() > deadline:
            raise OrderflowError(
                f"{decided} of {count} orders were decided within {DONE_WITHIN_S:.0f} s"
            )
        time.sleep(POLL_EVERY_S)
    return decided
