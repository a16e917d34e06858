"""
`orderflow bench years`: what years of orders do to the queries and purges of the services.

Orders are placed at a steady rate on an empty house while every listed query is asked over HTTP;
then so many orders are generated in all databases, and the same is done again, with the purges
beside it. The empty house is the baseline.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from orderflow.bench.flow.bench import BESIDE, Progress
from orderflow.bench.flow.workers import without
from orderflow.bench.service_data import count_orders, open_connection
from orderflow.bench.years.generated import SERVICES, generate
from orderflow.bench.years.log_kept import keep_whole_log, wait_until_read
from orderflow.bench.years.questions import Asker, sample
from orderflow.messaging.postgres import BY_KEY, Connection, Session, inbox
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import ALL
from orderflow.stack.temporary_stack import temporary_stack
from orderflow.trials.harness import POLL_EVERY_S, QUIET, database, keep
from orderflow.trials.latency import Percentiles
from orderflow.trials.machine import Machine, this_machine
from orderflow.trials.steady_load import SteadyLoad
from orderflow.trials.stock_up import stock_up

EMPTY, FULL = "an empty house", "after years"
CUSTOMERS = 1_000
WEBHOOKS_WITHIN_S = 60.0
"""The payment API looks for old ones every ten seconds."""
WITH_INBOX = ("order", "inventory", "fulfilment", "notification", "analytics")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`orders` are generated; each turn lasts `seconds` at `rate_per_s` after a `warm_up_s`."""

    orders: int = 5_000_000
    rate_per_s: float = 200.0
    seconds: float = 120.0
    warm_up_s: float = 20.0


SMOKE = Plan(orders=2_000, rate_per_s=20.0, seconds=5.0, warm_up_s=1.0)


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """
    Rows that one purge deleted under load, and how many a second. `left`: old ones still there.

    `rows` is 0 where the service's own purge was faster than the question.
    """

    what: str
    rows: int
    per_s: float
    left: int = 0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """
    `questions`: how long each took. `refused`: 5xx answers, by question. `purges`: none at first.
    """

    target: str
    orders_before: int
    placed: int
    per_s: float
    questions: dict[str, Percentiles]
    refused: dict[str, int]
    purges: tuple[Purge, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    plan: Plan
    generated_s: float
    turns: tuple[Turn, ...]


def run(plan: Plan, progress: Progress = lambda _line: None) -> Report:
    """Raises OrderflowError if an order or a question is answered as nothing explains."""
    machine = this_machine()
    # The books would differ: nobody has placed the orders that are generated.
    with (
        temporary_stack(ALL, environment=QUIET, change=keep_whole_log) as stack,
        without(stack, BESIDE),
    ):
        bench = _Bench(stack, plan)
        progress(EMPTY)
        empty = bench.turn(EMPTY)

        began = time.monotonic()
        for service in SERVICES:
            progress(f"{plan.orders:,} generated orders: {service}")
            with open_connection(bench.dsn(service)) as connection:
                generate(connection, service, orders=plan.orders)
        generated_s = time.monotonic() - began
        progress("the relays read the log of these")
        wait_until_read(bench.dsn("order"))
        progress(FULL)
        full = bench.turn(FULL, with_purges=True)
    return Report(machine=machine, plan=plan, generated_s=generated_s, turns=(empty, full))


class _Bench:
    def __init__(self, stack: LocalStack, plan: Plan) -> None:
        self._stack, self._plan = stack, plan
        self._skus = stock_up(stack.settings, actor="bench-years")

    def dsn(self, service: str) -> str:
        return database_url(self._stack.settings, service)

    def turn(self, target: str, *, with_purges: bool = False) -> Turn:
        orders_before = count_orders(self.dsn("order"))
        with self._load() as load:
            self._keep(self._plan.warm_up_s)
            with open_connection(self.dsn("order")) as connection:
                asker = Asker(self._urls(), samples=sample(connection))
            placed, began = len(load.placed), time.monotonic()
            asker.start()

            purges = tuple(self._purges()) if with_purges else ()
            self._keep(began + self._plan.seconds - time.monotonic())
            asker.stop()
            placed, elapsed_s = len(load.placed) - placed, time.monotonic() - began

        if load.failure is not None:
            raise load.failure
        return Turn(
            target=target,
            orders_before=orders_before,
            placed=placed,
            per_s=placed / elapsed_s,
            questions=asker.percentiles,
            refused=asker.refused,
            purges=purges,
        )

    def _keep(self, seconds: float) -> None:
        """The stack goes on; raises OrderflowError if one of its processes has ended for good."""
        keep(self._stack, seconds, check=lambda: None)

    @contextmanager
    def _load(self) -> Iterator[SteadyLoad]:
        load = SteadyLoad(
            api_url(self._stack.settings, "order"),
            skus=self._skus,
            customers=CUSTOMERS,
            rate_per_s=self._plan.rate_per_s,
            orders_max=10**9,
        )
        load.start()
        try:
            yield load
        finally:
            load.stop()

    def _urls(self) -> dict[str, str]:
        return {service: api_url(self._stack.settings, service) for service in SERVICES}

    def _purges(self) -> Iterator[Purge]:
        """What is old in the inboxes, as listeners purge it; webhooks, as the payment API does."""
        for service in WITH_INBOX:
            yield self._inbox(service)
        yield self._webhooks()

    def _inbox(self, service: str) -> Purge:
        session = Session(
            database(self.dsn(service)), application_name="bench-purge", session=BY_KEY
        )
        began, rows, deleted = time.monotonic(), 0, inbox.PURGE_ROWS_MAX
        while deleted == inbox.PURGE_ROWS_MAX:
            with session.transaction() as cursor:
                deleted = inbox.purge(cursor)
            rows += deleted
        session.close()
        return _purged(f"{service}: inbox", rows, began)

    def _webhooks(self) -> Purge:
        with open_connection(self.dsn("payment")) as connection:
            began, rows = time.monotonic(), _old_webhooks(connection)
            until = began + max(self._plan.seconds, WEBHOOKS_WITHIN_S)
            while (left := _old_webhooks(connection)) and time.monotonic() < until:
                time.sleep(POLL_EVERY_S)
        return _purged("payment: webhooks", rows - left, began, left=left)


def _purged(what: str, rows: int, began: float, *, left: int = 0) -> Purge:
    return Purge(what=what, rows=rows, per_s=rows / (time.monotonic() - began), left=left)


def _old_webhooks(connection: Connection) -> int:
    row = connection.execute(_OLD_WEBHOOKS).fetchone()
    return int(row[0]) if row else 0


_OLD_WEBHOOKS = """
SELECT count(*) FROM webhook WHERE received_at < now() - interval '1 day 10 minutes'
"""
