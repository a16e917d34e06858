"""
`orderflow bench flow`: orders through the whole flow at constant rates, from POST to the reserved
stock and the customer's mail: how many are sustained, how long one takes, and what it costs.

One stack, all services on one machine with broker, database, provider and mail sink. Each step
waits until everything is through; then a naive flow takes ours' place on the same broker and
database. At the end the books of ours are compared, order by order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from orderflow.bench.flow.load import OURS, Flow
from orderflow.bench.flow.naive.components import FLOW, SKUS, NaiveFlow
from orderflow.bench.flow.profile import recording
from orderflow.bench.flow.step import Clients, Step, measure
from orderflow.bench.flow.subject import Elsewhere, OnStack, Subject
from orderflow.bench.flow.workers import add_workers, running, without
from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.addresses import api_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.harness import QUIET, access
from orderflow.trials.machine import Machine, this_machine
from orderflow.trials.stack_books import audit, sentences
from orderflow.trials.stock_up import stock_up

BESIDE = ("revenue", "operations")
"""Services that read along, and that no order waits for: they run only where they are asked for."""

NEIGHBOURS = ("psp", "mail")
FASTER, SLOWER = 1.5, 0.5
NAIVE_STEPS_MAX = 8

Progress = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    `rates_per_s`: the steps, each for `seconds`, after `warm_up_s` at the first rate.

    `workers`: of each service, each a process. `partitions`: of each topic.
    `goes_on`: also after a step that was not sustained. `has_all`: with the services that only read
    along. `has_naive`: then the baseline's rate is searched for in steps of `naive_s`, from
    `naive_from_per_s` on. `profile`: where the flame graphs go of one more step, at the highest
    rate that was sustained, that is not among the figures. `settings`: added to the environment of
    all processes.
    """

    rates_per_s: tuple[int, ...] = (100, 200, 500, 1_000)
    seconds: float = 20.0
    warm_up_s: float = 30.0
    clients: Clients = Clients()
    workers: int = 1
    partitions: int = 3
    goes_on: bool = False
    has_all: bool = False
    has_naive: bool = True
    naive_s: float = 10.0
    naive_from_per_s: int = 50
    naive_steps_max: int = NAIVE_STEPS_MAX
    profile: str = ""
    settings: dict[str, str] = {}


SMOKE = Plan(
    rates_per_s=(20,),
    seconds=2.0,
    warm_up_s=1.0,
    clients=Clients(customers=20, connections=8),
    naive_s=1.0,
    naive_from_per_s=20,
    naive_steps_max=1,
)


class Other(msgspec.Struct, frozen=True, kw_only=True):
    """Another implementation: where it takes orders, what for, and where it tells of them."""

    url: str
    bootstrap_servers: str
    flow: Flow
    skus: tuple[str, ...]


def flow_of(topics: Sequence[str], *, payment_mail: int) -> Flow:
    """Three topics: without mails. Raises ConfigurationError for any other number but four."""
    names = dict(zip(("orders", "payments", "inventory", "notifications"), topics, strict=False))
    if len(topics) not in (3, 4) or not all(topics):
        raise ConfigurationError("topics: three or four names, as orders,payments,inventory")
    return Flow(**{"notifications": "", **names}, payment_mail=payment_mail)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """
    `naive`: the baseline's steps; `beside_naive`: ours, at the highest rate that it sustained.

    `wrong`: what the books say of all orders of ours; empty when they balance. `orders` is None
    where there are no books.
    """

    machine: Machine
    plan: Plan
    steps: list[Step]
    orders: int | None = None
    wrong: tuple[str, ...] = ()
    naive: list[Step] = []
    beside_naive: Step | None = None

    @property
    def sustained_per_s(self) -> int:
        return sustained(self.steps)

    @property
    def naive_sustained_per_s(self) -> int:
        return sustained(self.naive)


def sustained(steps: list[Step]) -> int:
    """The highest rate that was sustained; 0 if none was."""
    return max((step.rate_per_s for step in steps if step.way.is_sustained), default=0)


def run(plan: Plan, progress: Progress = lambda _line: None) -> Report:
    machine = this_machine()
    environment = {
        **QUIET,
        "ORDERFLOW_TOPICS__PARTITIONS": str(plan.partitions),
        **plan.settings,
    }
    with temporary_stack(ALL, environment=environment) as stack:
        report = Report(machine=machine, plan=plan, steps=[])
        with without(stack, () if plan.has_all else BESIDE):
            add_workers(stack, plan.workers)
            bench = FlowBench(our_flow(stack, actor="bench-flow"), plan, progress)
            bench.warm_up(plan.rates_per_s[0], plan.warm_up_s)
            report = msgspec.structs.replace(report, steps=bench.steps())
            if plan.profile:
                bench.profile(report.sustained_per_s or plan.rates_per_s[0], Path(plan.profile))
            if plan.has_naive:
                naive = _naive_steps(stack, plan, progress)
                report = msgspec.structs.replace(report, naive=naive)
                report = msgspec.structs.replace(report, beside_naive=_beside(report, bench))

        progress("the books")
        books = audit(stack.settings, access(stack))
    wrong = tuple(sentences(books))
    return msgspec.structs.replace(report, orders=books.orders, wrong=wrong)


def run_against(other: Other, plan: Plan, progress: Progress = lambda _line: None) -> Report:
    """The steps of another implementation: no CPU, no books, no baseline."""
    machine = this_machine()
    subject = Elsewhere(
        url=other.url,
        skus=list(other.skus),
        flow=other.flow,
        bootstrap_servers=other.bootstrap_servers,
    )
    bench = FlowBench(subject, plan, progress)
    bench.warm_up(plan.rates_per_s[0], plan.warm_up_s)
    return Report(machine=machine, plan=plan, steps=bench.steps())


class FlowBench:
    """A flow that is up, with goods for every order."""

    def __init__(self, subject: Subject, plan: Plan, progress: Progress) -> None:
        self._subject = subject
        self._plan = plan
        self._progress = progress
        self._seed = 0

    def warm_up(self, rate: int, seconds: float) -> None:
        self._progress(f"warm-up: {seconds:.0f} s at {rate}/s")
        self.step(rate, seconds)

    def steps(self) -> list[Step]:
        """The plan's, to the first that is not sustained."""
        steps = []
        for rate in self._plan.rates_per_s:
            steps.append(self.step(rate, self._plan.seconds))
            self._progress(str(steps[-1]))
            if not (steps[-1].way.is_sustained or self._plan.goes_on):
                break
        return steps

    def search(self, rate: int, seconds: float, *, steps_max: int) -> list[Step]:
        """Upwards until a rate is not sustained; or, if the first is not, down until one is."""
        steps = [self._told(rate, seconds)]
        factor = FASTER if steps[0].way.is_sustained else SLOWER
        while len(steps) < steps_max and rate > 1:
            rate = max(1, round(rate * factor))
            steps.append(self._told(rate, seconds))
            if steps[-1].way.is_sustained != steps[0].way.is_sustained:
                break
        return steps

    def step(self, rate: int, seconds: float) -> Step:
        """Post at this rate for so long, then wait until everything is through."""
        self._seed += 1
        clients = self._plan.clients
        return measure(self._subject, clients, rate=rate, seconds=seconds, seed=self._seed)

    def profile(self, rate: int, directory: Path) -> None:
        """One more step, with flame graphs."""
        seconds = self._plan.seconds
        self._progress(f"flame graphs at {rate}/s, into {directory}")
        with recording(self._subject.pids(), directory, seconds=seconds) as failures:
            self.step(rate, seconds)
        for sentence in failures:
            self._progress(sentence)

    def _told(self, rate: int, seconds: float) -> Step:
        step = self.step(rate, seconds)
        self._progress(f"naive {step}")
        return step


def our_flow(stack: LocalStack, *, actor: str) -> OnStack:
    """With goods for every order, put in stock as `actor`."""
    skus = stock_up(stack.settings, actor=actor)
    return OnStack(stack, url=api_url(stack.settings, "order"), skus=skus, flow=OURS)


def _naive_steps(stack: LocalStack, plan: Plan, progress: Progress) -> list[Step]:
    """The baseline's, while nothing of ours runs but broker and database."""
    with without(stack, (*running(stack), *NEIGHBOURS)):
        naive = NaiveFlow(stack)
        naive.start()
        bench = FlowBench(OnStack(stack, url=naive.url, skus=SKUS, flow=FLOW), plan, progress)
        bench.warm_up(plan.naive_from_per_s, plan.naive_s)
        steps = bench.search(plan.naive_from_per_s, plan.naive_s, steps_max=plan.naive_steps_max)
        naive.stop()
    return steps


def _beside(report: Report, bench: FlowBench) -> Step | None:
    """Ours at the rate that the baseline sustained, as it is measured already or once more."""
    rate, plan = report.naive_sustained_per_s, report.plan
    measured = [step for step in report.steps if step.rate_per_s == rate]
    if measured or not rate:
        return measured[0] if measured else None
    bench.warm_up(rate, plan.naive_s)
    return bench.step(rate, plan.naive_s)
