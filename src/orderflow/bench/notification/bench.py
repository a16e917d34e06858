"""
`orderflow bench notification`: events that wait on four topics become notifications, and waiting
notifications become mails; per second, and in CPU time of each process.

Ours are the notification service's own listener and sender, one after the other, and the local mail
sink. The baseline does both in one loop. Every turn ends with a count: each notification has its
number and its mail, and no mail came twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager

import httpx2
import msgspec

from orderflow.bench.notification import naive
from orderflow.bench.service_data import (
    count_announced,
    count_notifications,
    count_unnumbered,
    open_connection,
)
from orderflow.contracts.events import Event, OrderEvent, OrderStatus
from orderflow.contracts.ids import CustomerId
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.stack.addresses import database_url, mail_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.ports import HOST, free_ports
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials import records
from orderflow.trials.harness import access, new_database, pid_of, ratio, wait_for
from orderflow.trials.machine import Machine, cpu_seconds, this_machine
from orderflow.trials.processes import python_module, running, with_task

LISTENER, SENDER, NAIVE = "orderflow listener", "orderflow sender", "a mail for each event"
SERVICE, GROUP = "notification", "notification-service"
TOPICS = (ORDERS.name, PAYMENTS.name, INVENTORY.name, ORDER_EVENTS.name)
RUNNING = ("kafka", "postgres", "registry", "mail")
"""What runs beside the processes that are measured."""

EVENTS_PER_ORDER, MAILS_PER_ORDER = 4, 2
"""Created, paid, and the two OrderEvents that say the same, of which nobody is told."""
POLL_EVERY_S = 0.05
DONE_WITHIN_S = 300.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`orders` for each turn of ours, four events and two mails each; `naive_orders` of those."""

    orders: int = 10_000
    naive_orders: int = 1_000
    rounds: int = 3
    warm_up_s: float = 30.0


SMOKE = Plan(orders=1_500, naive_orders=150, rounds=1, warm_up_s=1.0)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """
    From the first effect to the last. `per_s` and `cpu_us` are of events at the listener, of mails
    at the sender and the baseline; `sink_cpu_us`: of the mail sink, for each mail.
    """

    target: str
    count: int
    per_s: float
    cpu_us: float
    sink_cpu_us: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio`: the sender against the baseline, medians of the same run."""

    machine: Machine
    plan: Plan
    turns: list[Turn]
    mails: int
    ratio: float


def run(plan: Plan) -> Report:
    machine = this_machine()
    turns: list[Turn] = []
    with temporary_stack(ALL) as stack:
        bench = _Bench(stack, plan)
        bench.prepare()
        for number in range(plan.rounds):
            turns += bench.turns(number)
        mails = bench.count_mails()

    return Report(
        machine=machine, plan=plan, turns=turns, mails=mails, ratio=ratio(turns, SENDER, NAIVE)
    )


class _Bench:
    """One stack; the service has its own database, the baseline another."""

    def __init__(self, stack: LocalStack, plan: Plan) -> None:
        self._stack = stack
        self._plan = plan
        self._access = access(stack)
        self._dsn = database_url(stack.settings, "notification")
        self._naive_dsn = new_database(stack, "naive_notification")
        self._mails = 0

    def prepare(self) -> None:
        """Let the service come to the end of what there is already, then stop all of ours."""
        records.warm_up(self._access.kafka, self._plan.warm_up_s)
        if not self._stack.find(SERVICE).is_up:
            self._stack.start_process(SERVICE)
        with self._progress() as progress, closing(open_connection(self._dsn)) as connection:
            wait_for(
                lambda: (
                    not progress.unfinished(progress.horizon()) and not count_unnumbered(connection)
                ),
                within_s=DONE_WITHIN_S,
                what="the service is at the end of its topics",
            )

        for name, managed in self._stack.managed.items():
            component = managed.component
            if component.service not in RUNNING and not component.once and managed.is_up:
                self._stack.stop_process(name)
        with httpx2.Client(base_url=mail_url(self._stack.settings), trust_env=False) as client:
            self._mails_before = client.get("/totals").json()["accepted"]

    def turns(self, number: int) -> list[Turn]:
        """The listener over new events, the sender over its notifications, then the baseline."""
        start = end_offsets(self._access.kafka, ORDERS.name)
        self._produce(number)

        listener, sender = self._listen(), self._send()
        orders = self._plan.naive_orders
        task = naive.Task(
            bootstrap_servers=self._access.kafka.bootstrap_servers,
            registry_url=self._access.registry.url,
            dsn=self._naive_dsn,
            smtp_host=HOST,
            smtp_port=self._stack.settings.ports.mail_smtp,
            group=f"bench-naive-{number}",
            start=dict(start),
        )
        command = with_task("orderflow.bench.notification.naive", task)
        with (
            running(command, self._access.environment) as pid,
            closing(open_connection(self._naive_dsn)) as connection,
        ):
            before = number * orders
            baseline = self._measure(
                NAIVE, pid, lambda: naive.count_sent(connection) - before, until=orders
            )
        return [listener, sender, baseline]

    def count_mails(self) -> int:
        """
        The mails that the sink has accepted of ours. Raises OrderflowError when one is missing, or
        came twice, or a number is.
        """
        with httpx2.Client(base_url=mail_url(self._stack.settings), trust_env=False) as client:
            totals = client.get("/totals").json()
        ours = self._plan.rounds * self._plan.orders * MAILS_PER_ORDER
        with closing(open_connection(self._dsn)) as connection:
            unnumbered = count_unnumbered(connection)
        if unnumbered or totals["accepted"] - self._mails_before < ours:
            raise OrderflowError(f"{ours} mails, {totals['accepted']} accepted, {unnumbered} lack")
        if totals["offered"] != totals["accepted"]:
            raise OrderflowError(f"{totals['offered'] - totals['accepted']} mails came twice")
        return ours

    def _produce(self, number: int) -> None:
        orders = [
            msgspec.structs.replace(order, customer_id=CustomerId(f"customer-{number}-{index}"))
            for index, order in enumerate(records.orders(self._plan.orders))
        ]
        events: dict[str, Sequence[Event]] = {
            ORDERS.name: orders,
            PAYMENTS.name: [records.payment_of(order) for order in orders],
            ORDER_EVENTS.name: [
                OrderEvent(
                    order_id=order.order_id,
                    customer_id=order.customer_id,
                    status=status,
                    description="",
                    timestamp=order.occurred_at,
                    version=version,
                )
                for order in orders
                for version, status in enumerate((OrderStatus.CREATED, OrderStatus.PAID), start=1)
            ],
        }

        for topic, some in events.items():
            produced = records.encoded(topic, some, self._access.registry)
            records.produce(self._access.kafka, topic, produced)

    def _listen(self) -> Turn:
        mails = MAILS_PER_ORDER * self._plan.orders
        with (
            self._progress() as progress,
            self._role("listener", 8_310) as pid,
            closing(open_connection(self._dsn)) as connection,
        ):
            before = count_notifications(connection)
            turn = self._measure(
                LISTENER, pid, lambda: count_notifications(connection) - before, until=mails
            )
            wait_for(
                lambda: not progress.unfinished(progress.horizon()),
                within_s=DONE_WITHIN_S,
                what="the listener is at the end of its topics",
            )

        return msgspec.structs.replace(
            turn,
            count=turn.count * EVENTS_PER_ORDER // MAILS_PER_ORDER,
            per_s=turn.per_s * EVENTS_PER_ORDER / MAILS_PER_ORDER,
            cpu_us=turn.cpu_us * MAILS_PER_ORDER / EVENTS_PER_ORDER,
        )

    def _send(self) -> Turn:
        mails = MAILS_PER_ORDER * self._plan.orders
        with closing(open_connection(self._dsn)) as connection:
            before = count_announced(connection)
            with self._role("sender", 8_320) as pid:
                return self._measure(
                    SENDER, pid, lambda: count_announced(connection) - before, until=mails
                )

    def _progress(self) -> AbstractContextManager[GroupProgress]:
        return closing(GroupProgress(self._access.kafka, group=GROUP, topics=TOPICS))

    @contextmanager
    def _role(self, role: str, port: int) -> Iterator[int]:
        environment = {
            **self._access.environment,
            f"ORDERFLOW_NOTIFICATION__{role.upper()}__PORT": str(free_ports(1, start=port)[0]),
        }
        command = python_module("orderflow.services.notification", "--roles", role)
        with running(command, environment) as pid:
            yield pid

    def _measure(self, target: str, pid: int, done: Callable[[], int], *, until: int) -> Turn:
        """Wait until `done` has come to `until`. Raises OrderflowError if it was all at once."""
        sink = pid_of(self._stack, "mail")
        first = _wait_for_count(done, 1)
        began, before, sink_before = time.monotonic(), cpu_seconds(pid), cpu_seconds(sink)
        last = _wait_for_count(done, until)
        elapsed_s = time.monotonic() - began
        if last == first:
            raise OrderflowError(f"all {until} were done at once: too few for a rate")

        count = last - first
        return Turn(
            target=target,
            count=count,
            per_s=count / elapsed_s,
            cpu_us=1e6 * (cpu_seconds(pid) - before) / count,
            sink_cpu_us=1e6 * (cpu_seconds(sink) - sink_before) / count,
        )


def _wait_for_count(done: Callable[[], int], count: int) -> int:
    """How many are done then. Raises OrderflowError after 300 s."""
    deadline = time.monotonic() + DONE_WITHIN_S
    while (now := done()) < count:
        if time.monotonic() > deadline:
            raise OrderflowError(f"{now} of {count} were done within {DONE_WITHIN_S:.0f} s")
        time.sleep(POLL_EVERY_S)
    return now
