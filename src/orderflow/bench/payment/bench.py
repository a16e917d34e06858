"""
`orderflow bench payment`: orders that wait on a topic become payments, beside two baselines.

Ours is the payment service's own listener, its database included, over a provider in its own
process that answers at once: called on the listener's thread, and on the event loop; and over HTTP,
as in production, to the simulated provider's process. Baselines of the same run: one Kafka
transaction for each record, tuned and without a database; and the very same listener without
transactions (flush, then a synchronous offset commit). Then ours over a provider that takes its
time. Every turn has a group and a database of its own, and counts which payments came twice or
never.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import httpx2
import msgspec

from orderflow.bench.naive_consumer import Input
from orderflow.bench.payment import worker
from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import PaymentSucceeded
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.event import CE_ID, EventId, derived_id
from orderflow.messaging.kafka import admin, groups
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import PROVIDER_URL
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials import records
from orderflow.trials.arrivals import Reader, measure
from orderflow.trials.harness import access, new_database, ratio, wait_for
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.processes import python_module, running, with_task

OWNER, LOOP, HTTP = "owner thread", "event loop", "provider over HTTP"
PLAIN, NAIVE = "no transactions", "one transaction each"
SLOW, TAIL = "provider takes 100 ms", "and 2 % of calls 3 s"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Orders preloaded for each turn of ours, of the naive baseline, and over a slow provider."""

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
    """
    From the first payment that could be read to the last; CPU of the worker in the same time.

    `provider_us_per_record`: CPU of the provider's process, where there is one.
    """

    target: str
    records: int
    per_s: float
    cpu_us_per_record: float
    duplicates: int
    missing: int
    provider_us_per_record: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratios`: ours on the owner's thread against each baseline, medians of the same run."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    ratios: dict[str, float]


WORKERS: Mapping[str, Mapping[str, object]] = {
    OWNER: {"calls_max": 500, "inline": True},
    LOOP: {"calls_max": 128},
    HTTP: {"calls_max": 128, "over_http": True},
    PLAIN: {"calls_max": 500, "inline": True, "transactional": False},
    SLOW: {"calls_max": 128, "latency_s": 0.1},
    TAIL: {"calls_max": 128, "latency_s": 0.1, "slow_share": 0.02},
}


def run(plan: Plan) -> Report:
    machine = this_machine()
    turns: list[Turn] = []
    with temporary_stack(INFRASTRUCTURE) as stack:
        bench = PaymentTurns(stack)
        bench.warm_up(plan)
        for _ in range(plan.rounds):
            turns += [bench.turn(name, plan.records) for name in (OWNER, LOOP, HTTP, PLAIN)]
            turns.append(bench.turn(NAIVE, plan.naive_records))
        turns += [bench.turn(name, plan.slow_records) for name in (SLOW, TAIL)]

    ratios = {baseline: ratio(turns, OWNER, baseline) for baseline in (NAIVE, PLAIN)}
    return Report(machine=machine, plan=plan, turns=turns, ratios=ratios)


class PaymentTurns:
    """
    One stack; turns do not share a group or a database. `workers`: the task of each target's
    worker; `settings`: of their environment.
    """

    def __init__(
        self,
        stack: LocalStack,
        workers: Mapping[str, Mapping[str, object]] = WORKERS,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._stack = stack
        self._access = access(stack)
        self._workers = workers
        self._settings = settings or {}
        self._number = 0

    def warm_up(self, plan: Plan) -> None:
        records.warm_up(self._access.kafka, plan.warm_up_s)
        if plan.warm_up_records:
            self.turn(OWNER, plan.warm_up_records)

    def turn(self, target: str, count: int, *, sampled: float = 1.0) -> Turn:
        """Let `target` handle so many orders; of the part `sampled` of them spans are wanted."""
        self._number += 1
        group = f"bench-{self._number}"
        kafka = self._access.kafka
        start = end_offsets(kafka, ORDERS.name)
        orders = records.encoded(
            ORDERS.name, records.orders(count), self._access.registry, sampled=sampled
        )
        records.produce(kafka, ORDERS.name, orders)

        with (
            Reader(kafka, PAYMENTS.name) as reader,
            self._provider(target) as provider_us,
            self._worker(target, group, start) as pid,
        ):
            throughput = measure(reader, expected={_payment_of(order) for order in orders}, pid=pid)
            of_provider = provider_us()
        return Turn(
            target=target,
            records=count,
            per_s=throughput.per_s,
            cpu_us_per_record=throughput.cpu_us_per_record,
            duplicates=throughput.duplicates,
            missing=throughput.missing,
            provider_us_per_record=None if of_provider is None else of_provider / count,
        )

    @contextmanager
    def _provider(self, target: str) -> Iterator[Callable[[], float | None]]:
        """The provider's process, where the target has one; yields what tells its CPU so far."""
        if not self._workers.get(target, {}).get("over_http"):
            yield lambda: None
            return

        with running(python_module("orderflow.neighbours.psp"), self._access.environment) as pid:
            url = f"{self._access.environment[PROVIDER_URL]}/readyz"
            wait_for(lambda: is_answered(url), within_s=30, what="the provider")
            before = cpu_seconds(pid)
            yield lambda: (cpu_seconds(pid) - before) * 1e6

    @contextmanager
    def _worker(self, target: str, group: str, start: Mapping[int, int]) -> Iterator[int]:
        """The process that is measured; yields its pid."""
        if target == NAIVE:
            task: msgspec.Struct = Input(
                bootstrap_servers=self._access.kafka.bootstrap_servers,
                registry_url=self._access.registry.url,
                group=group,
                start=dict(start),
            )
            module, environment = "orderflow.bench.payment.naive", self._access.environment
        else:
            task = msgspec.convert({"group": group, **self._workers[target]}, worker.Task)
            module = "orderflow.bench.payment.worker"
            environment = {**self._prepared(group, start), **self._settings.get(target, {})}

        with running(with_task(module, task), environment) as pid:
            yield pid

    def _prepared(self, group: str, start: Mapping[int, int]) -> dict[str, str]:
        """Make the group's topics, offsets and database; the environment of its worker."""
        kafka = self._access.kafka
        cluster = admin.Admin(kafka)
        group_topics = (dead_letter_topic(ORDERS, group), replay_topic(ORDERS, group))
        admin.apply(admin.plan(group_topics, cluster, TopicSettings()), cluster)
        groups.begin_at(kafka, group, ORDERS.name, start)

        dsn = new_database(self._stack, group.replace("-", "_"))
        environment = {**self._access.environment, "ORDERFLOW_PAYMENT__DATABASE__DSN": dsn}
        migrate = python_module("orderflow.services.payment", "--roles", "migrate")
        subprocess.run(migrate, env=environment, check=True, capture_output=True)
        return environment


def is_answered(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return httpx2.get(url, trust_env=False, timeout=1.0).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def _payment_of(order: records.Record) -> str:
    """The id that the order's payment must have, whoever makes it."""
    cause = EventId(UUID(dict(order[2])[CE_ID].decode()))
    return str(derived_id(NAMESPACE, cause=cause, event_type=PaymentSucceeded.type_name(), index=0))
