"""
`orderflow prove ordering`: per-customer and per-order order, while workers join, leave and die.

A stack of its own, several partitions, several notification workers; orders come over HTTP. When
nothing is left to do, the topics are read from their beginning and judged (`checker`) by what the
databases hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.prove.checker import Finding
from orderflow.prove.claims import CLAIMS, VERSIONS, judge
from orderflow.prove.progress import GROUP, SERVICES, Progress, read_progress
from orderflow.prove.service_views import ledger
from orderflow.prove.workers import disturbances, start_workers
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.local_stack import Progress as StackProgress
from orderflow.stack.settings import Service
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials.disturbances import Disturbed, Planned
from orderflow.trials.harness import access, database, keep
from orderflow.trials.order_load import OrderLoad
from orderflow.trials.stock_up import stock_up

PARTS: tuple[Service, ...] = (*INFRASTRUCTURE, *SERVICES, "psp", "mail")
READ_EVERY_S = 0.5
RESTS = 3
"""Readings in a row that must be at rest: records that an outbox still had are in a later one."""
RELAYED_WITHIN_S = 30.0
"""No lag covers `notifications`: a missing record may still come, from a relay that was killed."""
STALLED_AFTER_S = 60.0
MESSAGES_PER_ORDER = 2
"""At least: that the order is there, and how its payment ended."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`workers` of the notification service, each a process."""

    customers: int = 1_000
    orders: int = 20_000
    workers: int = 3
    partitions: int = 6
    seed: int = 1

    @property
    def messages(self) -> int:
        """How many there will be at least; disturbances come at shares of it."""
        return self.orders * MESSAGES_PER_ORDER


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """
    `commanded`: orders that were cancelled, shipped, delivered. `unheard`: orders that were
    answered with 201 and are not in the order service's history. `missed`: disturbances that never
    came, because nothing moved any more.
    """

    plan: Plan
    load_s: float
    rest_s: float
    commanded: dict[str, int]
    disturbed: tuple[Disturbed, ...]
    missed: tuple[str, ...]
    findings: tuple[Finding, ...]
    unheard: int

    @property
    def violations(self) -> int:
        return self.unheard + sum(finding.violations for finding in self.findings)


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """
    Called while the proof runs: for components of the stack, for readings, for disturbances.

    `progress` gets the number of orders placed so far, and the reading.
    """

    component: StackProgress
    progress: Callable[[int, Progress], None]
    disturbed: Callable[[Disturbed], None]


def run(plan: Plan, display: Display) -> Report:
    """
    Put the promise to the test; violations are in the report.

    Raises OrderflowError when the test itself failed: the stack, the load, a worker for good.
    """
    environment = {
        "ORDERFLOW_TOPICS__PARTITIONS": str(plan.partitions),
        "ORDERFLOW_TELEMETRY__LOG_RECORDS": "false",
    }
    with temporary_stack(PARTS, environment=environment, progress=display.component) as stack:
        return _Proof(stack, plan, display).run()


class _Proof:
    def __init__(self, stack: LocalStack, plan: Plan, display: Display) -> None:
        self._stack = stack
        self._plan = plan
        self._display = display
        self._access = access(stack)
        self._databases = {
            claim.service: database(database_url(stack.settings, claim.service)) for claim in CLAIMS
        }
        self._disturbed: list[Disturbed] = []
        self._began = time.monotonic()

    def run(self) -> Report:
        workers = start_workers(self._stack, self._plan.workers)
        load = OrderLoad(
            api_url(self._stack.settings, "order"),
            skus=stock_up(self._stack.settings, actor="prove"),
            customers=self._plan.customers,
            orders=self._plan.orders,
            seed=self._plan.seed,
        )

        self._began = time.monotonic()
        load.start()
        try:
            missed, load_s = self._work(load, disturbances(self._stack, workers))
        finally:
            load.stop()
        rest_s = self._elapsed_s()

        findings, unheard = self._judge_after_relay(load)
        return Report(
            plan=self._plan,
            load_s=round(load_s, 1),
            rest_s=round(rest_s, 1),
            commanded=dict(load.commanded),
            disturbed=tuple(self._disturbed),
            missed=tuple(disturbance.what for disturbance in missed),
            findings=findings,
            unheard=unheard,
        )

    def _work(self, load: OrderLoad, planned: list[Planned]) -> tuple[list[Planned], float]:
        """
        Keep the stack and disturb it as planned until nothing is left to do, or nothing moves.

        Returns the disturbances that did not come, and for how long orders came.
        """
        progress = self._read_progress()
        rests, moved_at, load_s = 0, time.monotonic(), 0.0
        while rests < RESTS and time.monotonic() - moved_at < STALLED_AFTER_S:
            self._keep(load)
            if not load_s and load.is_over:
                load_s = self._elapsed_s()

            before, progress = progress, self._read_progress(progress)
            self._display.progress(len(load.placed), progress)
            moved_at = time.monotonic() if before != progress else moved_at
            rests = rests + 1 if load_s and progress.is_rest and self._stack.is_up else 0

            if planned and self._is_due(planned[0], progress) and planned[0].act():
                self._note(planned.pop(0), progress)
            if not planned:
                load.release()
        return planned, load_s or self._elapsed_s()

    def _keep(self, load: OrderLoad) -> None:
        """Let the stack restart what died, for half a second. Raises OrderflowError."""

        def check() -> None:
            if load.failure is not None:
                raise OrderflowError(
                    f"orders could not be placed: {load.failure}"
                ) from load.failure

        keep(self._stack, READ_EVERY_S, check=check)

    def _is_due(self, planned: Planned, progress: Progress) -> bool:
        return progress.finished >= planned.share * self._plan.messages

    def _note(self, done: Planned, progress: Progress) -> None:
        at_s = round(self._elapsed_s(), 1)
        disturbed = Disturbed(at_s=at_s, what=done.what, behind=progress.behind[GROUP])
        self._disturbed.append(disturbed)
        self._display.disturbed(disturbed)

    def _read_progress(self, before: Progress | None = None) -> Progress:
        """The progress now; `before` while a server does not answer: the machine may be busy."""
        try:
            return read_progress(self._access.kafka, self._databases)
        except Unavailable:
            if before is None:
                raise
            return before

    def _judge_after_relay(self, load: OrderLoad) -> tuple[tuple[Finding, ...], int]:
        """Judge, again while records are lost that a restarted relay may still publish."""
        deadline = time.monotonic() + RELAYED_WITHIN_S
        findings, unheard = self._judge(load)
        while any(finding.lost for finding in findings) and time.monotonic() < deadline:
            self._keep(load)
            findings, unheard = self._judge(load)
        return findings, unheard

    def _judge(self, load: OrderLoad) -> tuple[tuple[Finding, ...], int]:
        registry = Registry(self._access.registry)
        try:
            decoder = Decoder(registry)
            findings = tuple(
                judge(claim, self._access.kafka, decoder, self._databases[claim.service])
                for claim in CLAIMS
            )
        finally:
            registry.close()
        orders = ledger(self._databases[VERSIONS.service], VERSIONS.ledger_sql)
        return findings, len(set(load.placed) - orders.keys())

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began
