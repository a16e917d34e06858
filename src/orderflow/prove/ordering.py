"""
`orderflow prove ordering`: per-customer and per-order order, under load, while workers join, leave and die.

A stack of its own, several partitions, several notification workers; orders come over HTTP. When everything is at rest
the topics are read from their beginning and judged (`checker`) against what the databases hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings, RegistrySettings
from orderflow.prove.checker import Finding
from orderflow.prove.disturbances import Disturbed, Planned, planned_for
from orderflow.prove.load import Load
from orderflow.prove.looking import GROUP, Look, look
from orderflow.prove.shelf import fill
from orderflow.prove.subjects import SUBJECTS, judged, ledger
from orderflow.stack.addresses import api_url, database_url, process_environment
from orderflow.stack.local import LocalStack, Progress
from orderflow.stack.parts.services import worker
from orderflow.stack.ports import free_ports
from orderflow.stack.private import INFRASTRUCTURE, private_stack
from orderflow.stack.settings import Service
from orderflow.stack.supervise.process import State

SERVICES: tuple[Service, ...] = (
    *INFRASTRUCTURE,
    "order",
    "payment",
    "inventory",
    "psp",
    "mail",
    "notification",
)
ROLES = "listener,sender"
LOOK_EVERY_S = 0.5
RESTS = 3
"""Looks in a row that find everything at rest: what an outbox of facts still had was seen by then."""
RELAYED_WITHIN_S = 30.0
"""Nobody's lag tells of `notifications`: what is not there yet at rest may still come, from a relay that was killed."""
STALLED_AFTER_S = 60.0
MESSAGES_PER_ORDER = 2
"""At least: that it is there, and how its payment ended."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`workers` of the notification service, each a process; the first has its API and relay too."""

    customers: int = 1_000
    orders: int = 20_000
    workers: int = 3
    partitions: int = 6
    seed: int = 1

    @property
    def messages(self) -> int:
        """How many there will be at least; the disturbances go by it."""
        return self.orders * MESSAGES_PER_ORDER


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """
    `commanded`: orders that were cancelled, shipped, delivered. `unheard`: orders that were answered with 201 and are
    not in the order service's history. `missed`: disturbances that never came, because nothing moved any more.
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


Tell = Callable[[int, Look], None]
"""Orders placed so far, and how far everything else is."""
Announce = Callable[[Disturbed], None]


def run(plan: Plan, *, progress: Progress, tell: Tell, announce: Announce) -> Report:
    """Prove it. Raises OrderflowError when it could not be put to the test; a violation is in the report."""
    environment = {
        "ORDERFLOW_TOPICS__PARTITIONS": str(plan.partitions),
        "ORDERFLOW_TELEMETRY__LOG_RECORDS": "false",
    }
    with private_stack(SERVICES, environment=environment, progress=progress) as stack:
        return _Proof(stack, plan, tell, announce).run()


class _Proof:
    def __init__(self, stack: LocalStack, plan: Plan, tell: Tell, announce: Announce) -> None:
        settings = stack.settings
        environment = process_environment(settings)
        self._stack = stack
        self._plan = plan
        self._tell = tell
        self._announce = announce
        self._kafka = KafkaSettings(
            bootstrap_servers=environment["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"]
        )
        self._registry = RegistrySettings(url=environment["ORDERFLOW_REGISTRY__URL"])
        self._databases = {
            subject.service: DatabaseSettings.model_validate(
                {"dsn": database_url(settings, subject.service)}
            )
            for subject in SUBJECTS
        }
        self._disturbed: list[Disturbed] = []
        self._began = time.monotonic()

    def run(self) -> Report:
        workers, joiner = self._start_workers()
        load = Load(
            api_url(self._stack.settings, "order"),
            skus=fill(self._stack.settings),
            customers=self._plan.customers,
            orders=self._plan.orders,
            seed=self._plan.seed,
        )
        self._began = time.monotonic()
        load.start()
        try:
            missed, load_s = self._work(load, planned_for(self._stack, workers, joiner=joiner))
        finally:
            load.stop()
        rest_s = time.monotonic() - self._began
        findings, unheard = self._judge(load)
        while (
            any(finding.lost for finding in findings)
            and time.monotonic() < self._began + rest_s + RELAYED_WITHIN_S
        ):
            self._turns(load)
            findings, unheard = self._judge(load)
        return Report(
            plan=self._plan,
            load_s=round(load_s, 1),
            rest_s=round(rest_s, 1),
            commanded=dict(load.commanded),
            disturbed=tuple(self._disturbed),
            missed=tuple(one.what for one in missed),
            findings=findings,
            unheard=unheard,
        )

    def _start_workers(self) -> tuple[list[str], str]:
        """The names of the workers, all ready, and of one more that is not started yet."""
        ports = free_ports(self._plan.workers, start=self._stack.settings.ports.postgres)
        names = ["notification"]
        for slot, port in enumerate(ports, start=1):
            component = worker(self._stack.settings, "notification", ROLES, slot=slot, port=port)
            self._stack.add(component)
            names.append(component.name)
        for name in names[1:-1]:
            self._stack.start_process(name)
        return names[:-1], names[-1]

    def _work(self, load: Load, planned: list[Planned]) -> tuple[list[Planned], float]:
        """Look after everything until it is at rest; what was not done of the plan, and how long orders came."""
        found = self._look()
        rests, moved_at, load_s = 0, time.monotonic(), 0.0
        while rests < RESTS and time.monotonic() - moved_at < STALLED_AFTER_S:
            self._turns(load)
            if not load_s and load.is_over:
                load_s = time.monotonic() - self._began
            before, found = found, self._look(found)
            self._tell(len(load.placed), found)
            moved_at = time.monotonic() if before != found else moved_at
            rests = rests + 1 if load_s and found.is_rest and self._stack.is_up else 0
            if (
                planned
                and found.told >= planned[0].share * self._plan.messages
                and planned[0].act()
            ):
                self._note(planned.pop(0), found)
            if not planned:
                load.release()
        return planned, load_s or time.monotonic() - self._began

    def _turns(self, load: Load) -> None:
        """Keep the stack for a moment."""
        until = time.monotonic() + LOOK_EVERY_S
        while time.monotonic() < until:
            self._stack.turn()
            self._stack.wait()
            if load.failure is not None:
                raise OrderflowError(
                    f"orders could not be placed: {load.failure}"
                ) from load.failure
            for one in self._stack.managed.values():
                if one.state is State.FAILED:
                    raise OrderflowError(f"{one.name} ended: {one.reason}")

    def _note(self, done: Planned, found: Look) -> None:
        at_s = round(time.monotonic() - self._began, 1)
        disturbed = Disturbed(at_s=at_s, what=done.what, behind=found.behind[GROUP])
        self._disturbed.append(disturbed)
        self._announce(disturbed)

    def _look(self, before: Look | None = None) -> Look:
        """How far it is now; as `before` while nobody answers: the machine may be busy."""
        try:
            return look(self._kafka, self._databases)
        except Unavailable:
            if before is None:
                raise
            return before

    def _judge(self, load: Load) -> tuple[tuple[Finding, ...], int]:
        registry = Registry(self._registry)
        try:
            decoder = Decoder(registry)
            findings = tuple(
                judged(subject, self._kafka, decoder, self._databases[subject.service])
                for subject in SUBJECTS
            )
        finally:
            registry.close()
        orders = ledger(SUBJECTS[0], self._databases[SUBJECTS[0].service])
        return findings, len(set(load.placed) - orders.keys())
