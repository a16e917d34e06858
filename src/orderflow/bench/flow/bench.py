"""
`orderflow bench flow`: orders through the whole flow at constant rates, from POST to the reserved
stock and the customer's mail: how many are sustained, how long one takes, and what it costs.

One stack, all services on one machine with broker, database, provider and mail sink. Each step
waits until everything is through; after the last one the books are compared, order by order.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from orderflow.bench.flow import work_done
from orderflow.bench.flow.load import OURS, Load, Way, loading, the_way
from orderflow.bench.flow.poster import PostTask
from orderflow.bench.flow.usage import Snapshot, Used, snapshot
from orderflow.bench.flow.work_done import WorkDone
from orderflow.stack.addresses import api_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.harness import access, pid_of
from orderflow.trials.machine import Machine, this_machine
from orderflow.trials.stack_books import audit, sentences
from orderflow.trials.stock_up import stock_up

BESIDE = ("revenue", "operations")
"""Services that read along, and that no order waits for: they run only where they are asked for."""

NOTHING_CAME_S = 20.0
LAG_MAX_SHARE = 0.1
LAG_MAX_MS = 2.0
FOREIGN_MAX = 0.1

Progress = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    `rates_per_s`: the steps, each for `seconds`, after `warm_up_s` at the first rate.

    `goes_on`: also after a step that was not sustained. `has_all`: with the services that only read
    along. `settings`: added to the environment of all processes.
    """

    rates_per_s: tuple[int, ...] = (100, 200, 500, 1_000)
    seconds: float = 20.0
    warm_up_s: float = 30.0
    customers: int = 10_000
    connections: int = 256
    is_poisson: bool = False
    goes_on: bool = False
    has_all: bool = False
    settings: dict[str, str] = {}


SMOKE = Plan(rates_per_s=(20,), seconds=2.0, warm_up_s=1.0, customers=20, connections=8)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """
    One rate. `used`: by component, from the first request until all was through.

    `cpu_ms_per_order` is that of all components, the generator not counted. `foreign_cores`: what
    the machine worked beside them and the generator, in cores. `generator`: CPU of poster and
    watcher. A step is void when requests were sent late, or when something else took the cores.
    """

    rate_per_s: int
    way: Way
    used: dict[str, Used]
    work: WorkDone
    generator_cores: float
    foreign_cores: float
    elapsed_s: float

    @property
    def cpu_ms_per_order(self) -> float:
        return 1e3 * sum(each.cpu_s for each in self.used.values()) / self.way.posted

    @property
    def why_void(self) -> str:
        lag, whole = self.way.generator_lag.p99_ms, self.way.whole.p99_ms
        if lag > max(LAG_MAX_MS, LAG_MAX_SHARE * whole):
            return f"requests were sent {lag:.0f} ms late at p99"
        if self.foreign_cores > FOREIGN_MAX:
            return f"something else took {self.foreign_cores:.2f} cores"
        return ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`wrong`: what the books say of all orders of the run; empty when they balance."""

    machine: Machine
    plan: Plan
    steps: list[Step]
    orders: int
    wrong: tuple[str, ...]

    @property
    def sustained_per_s(self) -> int:
        """The highest rate that was sustained; 0 if none was."""
        return max((step.rate_per_s for step in self.steps if step.way.is_sustained), default=0)


def run(plan: Plan, progress: Progress = lambda _line: None) -> Report:
    machine = this_machine()
    quiet = {"ORDERFLOW_TELEMETRY__LOG_LEVEL": "warning"}
    with temporary_stack(ALL, environment={**quiet, **plan.settings}) as stack:
        bench = FlowBench(stack, plan)
        if not plan.has_all:
            for name in BESIDE:
                stack.stop_process(name)

        progress(f"warm-up: {plan.warm_up_s:.0f} s at {plan.rates_per_s[0]}/s")
        bench.step(plan.rates_per_s[0], plan.warm_up_s)
        steps = []
        for rate in plan.rates_per_s:
            steps.append(bench.step(rate, plan.seconds))
            progress(_line(steps[-1]))
            if not (steps[-1].way.is_sustained or plan.goes_on):
                break

        if not plan.has_all:
            for name in BESIDE:
                stack.start_process(name)
        progress("the books")
        books = audit(stack.settings, access(stack))
    return Report(
        machine=machine,
        plan=plan,
        steps=steps,
        orders=books.orders,
        wrong=tuple(sentences(books)),
    )


class FlowBench:
    """A stack that is up, with goods for every order."""

    def __init__(self, stack: LocalStack, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        self._access = access(stack)
        self._management_url = work_done.management_url(stack)
        self._skus = stock_up(stack.settings, actor="bench-flow")
        self._seed = 0

    def step(self, rate: int, seconds: float) -> Step:
        """Post at this rate for so long, then wait until everything is through."""
        self._seed += 1
        task = PostTask(
            urls=[api_url(self._stack.settings, "order")],
            skus=self._skus,
            customers=self._plan.customers,
            rate_per_s=rate,
            seconds=seconds,
            is_poisson=self._plan.is_poisson,
            connections=self._plan.connections,
            seed=self._seed,
        )

        # What asks the broker and the database takes seconds: before and after what is measured.
        work_before = work_done.read(self._stack, self._management_url)
        with self._directory() as directory:
            servers = self._access.kafka.bootstrap_servers
            with loading(task, OURS, servers, directory) as load:
                return self._measure(load, rate, seconds, work_before)

    def _measure(self, load: Load, rate: int, seconds: float, work_before: WorkDone) -> Step:
        before, own_s = self._snapshot(), time.process_time()
        while not load.is_posted:
            self._turn()
        posting = load.posted()
        self._wait_until_through(load, sum(bool(order.order_id) for order in posting.orders))

        after, own_s = self._snapshot(), time.process_time() - own_s
        work_after, seen = work_done.read(self._stack, self._management_url), load.seen()
        elapsed_s = after.at_s - before.at_s
        used = {name: after.used[name].since(before.used[name]) for name in before.used}
        generator_s = posting.cpu_s + seen.cpu_s + own_s
        known_s = sum(each.cpu_s for each in used.values()) + generator_s
        return Step(
            rate_per_s=rate,
            way=the_way(posting.orders, seen, flow=OURS, seconds=seconds),
            used=used,
            work=work_after.since(work_before),
            generator_cores=generator_s / elapsed_s,
            foreign_cores=max(0.0, after.busy_s - before.busy_s - known_s) / elapsed_s,
            elapsed_s=elapsed_s,
        )

    def _wait_until_through(self, load: Load, wanted: int) -> None:
        """Until all orders are through, or none has come for 20 s."""
        reached, deadline = load.through(), time.monotonic() + NOTHING_CAME_S
        while reached < wanted and time.monotonic() < deadline:
            self._turn()
            if load.through() > reached:
                reached, deadline = load.through(), time.monotonic() + NOTHING_CAME_S

    def _turn(self) -> None:
        self._stack.turn()
        self._stack.raise_failures()
        self._stack.wait()

    def _snapshot(self) -> Snapshot:
        pids = {
            name: pid_of(self._stack, name)
            for name, managed in self._stack.managed.items()
            if managed.child is not None and not managed.component.once
        }
        return snapshot(pids, at_s=time.monotonic())

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="orderflow-private-") as directory:
            yield Path(directory)


def _line(step: Step) -> str:
    """One step in a line, while the others still run."""
    way = step.way
    verdict = "sustained" if way.is_sustained else "not sustained"
    return (
        f"{step.rate_per_s}/s: {verdict}, p50 {way.whole.p50_ms:.0f} ms, p99 "
        f"{way.whole.p99_ms:.0f} ms, {step.cpu_ms_per_order:.2f} ms of CPU an order"
        + (f" (void: {step.why_void})" if step.why_void else "")
    )
