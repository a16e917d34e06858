"""
`orderflow bench growth`: does the flow stay as fast over the years, and after an outage?

In an empty house: the rate at which orders pass when more are offered than can pass; then a
backlog, taken while the services that work on orders were down, drained to its end; then memory, at
half the rate; then the books of all these orders. Then so many orders are generated in all tables,
and the rate is measured again.
"""

from __future__ import annotations

import msgspec

from orderflow.bench.flow.bench import BESIDE, Progress, our_flow
from orderflow.bench.flow.poster import PostTask
from orderflow.bench.flow.step import Clients, Step, measure
from orderflow.bench.flow.subject import OnStack
from orderflow.bench.flow.workers import running, stop, without
from orderflow.bench.growth.backlog import Drain, drain
from orderflow.bench.growth.memory import Memory, Watched
from orderflow.bench.service_data import open_connection
from orderflow.bench.years.generated import SERVICES, generate
from orderflow.bench.years.log_kept import keep_whole_log, wait_until_read
from orderflow.messaging.postgres import Connection
from orderflow.stack.addresses import database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.harness import QUIET, access
from orderflow.trials.machine import Machine, this_machine
from orderflow.trials.stack_books import audit, sentences

TAKE_ORDERS = ("order-api", "order-relay")
SAMPLES = 40
"""Of each process's memory."""

TAKE_OUT: dict[str, tuple[str, ...]] = {
    "order": ("DELETE FROM orders WHERE waiting_for NOT IN ('SHIP', 'DELIVER')",),
    "payment": (
        "DELETE FROM refund WHERE state = 'REQUESTED'",
        "DELETE FROM payment WHERE state IN ('REQUESTED', 'UNKNOWN')",
    ),
    "notification": (
        "DELETE FROM delivery WHERE state IN ('HELD', 'PENDING')",
        "UPDATE customer SET due_at = NULL WHERE due_at IS NOT NULL",
    ),
}
"""Generated rows on which services would work: of orders that nobody has placed."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    `offered_per_s`: more than can pass, for `seconds`. `generated`: orders in the tables when it is
    measured again. `backlog`: orders that wait, posted at `backlog_per_s`. `minutes`: how long
    memory is looked at.
    """

    offered_per_s: int = 1_500
    seconds: float = 15.0
    warm_up_s: float = 20.0
    warm_up_per_s: int = 100
    generated: int = 200_000
    backlog: int = 20_000
    backlog_per_s: int = 800
    minutes: float = 4.0
    clients: Clients = Clients()


SMOKE = Plan(
    offered_per_s=40,
    seconds=2.0,
    warm_up_s=1.0,
    warm_up_per_s=20,
    generated=2_000,
    # More than one batch of any service: what comes all at once has no rate.
    backlog=1_200,
    backlog_per_s=300,
    minutes=0.05,
    clients=Clients(customers=20, connections=8),
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """
    `empty`, `full`: more offered than could pass, in an empty house and over generated orders.

    `wrong`: what the books say of all orders before any were generated.
    """

    machine: Machine
    plan: Plan
    empty: Step
    backlog: Drain
    steady: Step
    memory: dict[str, Memory]
    full: Step
    orders: int
    wrong: tuple[str, ...]

    @property
    def full_to_empty(self) -> float:
        return self.full.way.overall_per_s / self.empty.way.overall_per_s

    @property
    def drain_to_live(self) -> float:
        return self.backlog.per_s / self.empty.way.overall_per_s


class GrowthBench:
    """A stack with goods for every order."""

    def __init__(self, stack: LocalStack, plan: Plan, progress: Progress) -> None:
        self._stack = stack
        self._plan = plan
        self._progress = progress
        self._subject: OnStack = our_flow(stack, actor="bench-growth")
        self._seed = 0

    def warm_up(self) -> None:
        self._progress("warm-up")
        self._step(self._subject, self._plan.warm_up_per_s, self._plan.warm_up_s)

    def live(self) -> Step:
        """More is offered than can pass: how many pass, to the last one?"""
        step = self._step(self._subject, self._plan.offered_per_s, self._plan.seconds)
        self._progress(f"{step.way.overall_per_s:,.0f}/s pass")
        return step

    def backlog(self) -> Drain:
        plan = self._plan
        self._progress(f"a backlog of {plan.backlog:,}")
        down = [name for name in running(self._stack) if name not in TAKE_ORDERS]
        stop(self._stack, down)
        drained = drain(self._subject, self._task(), lambda: self._start(down))
        self._progress(f"{drained.per_s:,.0f}/s drained")
        return drained

    def steady(self, rate: int) -> tuple[Step, dict[str, Memory]]:
        """At this rate for long, with everybody's memory."""
        seconds = 60 * self._plan.minutes
        self._progress(f"memory: {seconds:.0f} s at {rate}/s")
        watched = Watched(self._subject, every_s=seconds / SAMPLES)
        return self._step(watched, rate, seconds), watched.memory()

    def _step(self, subject: OnStack | Watched, rate: int, seconds: float) -> Step:
        self._seed += 1
        clients = self._plan.clients
        return measure(subject, clients, rate=rate, seconds=seconds, seed=self._seed)

    def _start(self, names: list[str]) -> None:
        for name in names:
            self._stack.want(name, up=True)

    def _task(self) -> PostTask:
        plan = self._plan
        return PostTask(
            urls=[self._subject.url],
            skus=self._subject.skus,
            customers=plan.clients.customers,
            rate_per_s=plan.backlog_per_s,
            seconds=plan.backlog / plan.backlog_per_s,
            is_poisson=False,
            connections=plan.clients.connections,
            seed=self._seed + 1,
        )


def run(plan: Plan, progress: Progress = lambda _line: None) -> Report:
    machine = this_machine()
    with temporary_stack(ALL, environment=QUIET, change=keep_whole_log) as stack:
        bench = GrowthBench(stack, plan, progress)
        with without(stack, BESIDE):
            bench.warm_up()
            empty = bench.live()
            backlog = bench.backlog()
            steady, memory = bench.steady(max(1, int(empty.way.overall_per_s / 2)))
        progress("the books")
        books = audit(stack.settings, access(stack))

        with without(stack, BESIDE):
            with without(stack, running(stack)):
                progress(f"{plan.generated:,} generated orders")
                _generate(stack, plan.generated)
            progress("the relays read the log of these")
            wait_until_read(database_url(stack.settings, "order"))
            bench.warm_up()
            full = bench.live()
    return Report(
        machine=machine,
        plan=plan,
        empty=empty,
        backlog=backlog,
        steady=steady,
        memory=memory,
        full=full,
        orders=books.orders,
        wrong=tuple(sentences(books)),
    )


def _generate(stack: LocalStack, orders: int) -> None:
    for service in SERVICES:
        with open_connection(database_url(stack.settings, service)) as connection:
            fill(connection, service, orders=orders)


def fill(connection: Connection, service: str, *, orders: int) -> None:
    """Rows of so many orders, none of which a service would work on; see `generate`."""
    generate(connection, service, orders=orders)
    for statement in TAKE_OUT.get(service, ()):
        connection.execute(statement.encode())
