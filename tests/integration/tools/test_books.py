"""
The books of a live system: no false alarm under load, a worker that stands still is named and not
accused, and what is really wrong is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.support.databases import database_settings

from orderflow.books.audit import Books
from orderflow.books.report import BooksReport, Check, Verdict
from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.contracts.roster import ALWAYS_RUN
from orderflow.messaging import postgres
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.addresses import api_url, database_url, psp_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import Service
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials.harness import access
from orderflow.trials.order_load import OrderLoad

SERVICES: tuple[Service, ...] = tuple(
    member.name for member in ALWAYS_RUN if member.name != "operations"
)
SKUS = ["MOUSE-01", "CABLE-USBC-2M", "LAMP-01"]
RUNS = 3
LONG_RUNS = 50


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with temporary_stack((*INFRASTRUCTURE, *SERVICES, "psp", "mail")) as stack:
        yield stack


@pytest.fixture(scope="module")
def books(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    with opened(stack, tmp_path_factory.mktemp("books")) as books:
        yield books


@contextmanager
def opened(stack: LocalStack, state_dir: Path) -> Iterator[Books]:
    section = BooksSection(
        databases=BooksDatabases.model_validate(
            {name: database_url(stack.settings, name) for name in BooksDatabases.model_fields}
        ),
        ledger_url=psp_url(stack.settings),
        state_dir=state_dir,
    )
    reach = access(stack)
    with closing(Books(section, reach.kafka, reach.registry)) as books:
        yield books


@contextmanager
def load(stack: LocalStack, orders: int) -> Iterator[OrderLoad]:
    running = OrderLoad(
        api_url(stack.settings, "order"), skus=SKUS, customers=20, orders=orders, seed=orders
    )
    running.start()
    try:
        yield running
        assert running.failure is None
    finally:
        running.stop()


def shown(report: BooksReport) -> str:
    differences = (
        *report.differences,
        *report.in_flight,
        *(each.difference for each in report.explained),
    )
    lines = [f"{each.check} {each.id}: {each.expected} / {each.actual}" for each in differences]
    head = f"{report.verdict} after {report.duration_s:.1f} s, {report.compared} compared"
    return "\n".join((head, *map(str, report.awaited), *report.notes, *lines[:20]))


def balanced(books: Books) -> BooksReport:
    """The report of books that balance; what is in flight arrives first."""
    report = books.run(full=True, within_s=60)
    assert report.verdict is Verdict.BALANCED, shown(report)
    return report


@pytest.mark.parametrize(
    "runs", [RUNS, pytest.param(LONG_RUNS, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_a_live_system_raises_no_false_alarm(stack: LocalStack, books: Books, runs: int) -> None:
    with load(stack, orders=100 * runs) as running:
        for number in range(runs):
            report = books.run(within_s=5)
            assert report.verdict is not Verdict.DIFFERENT, shown(report)
            if number == runs - 2:
                running.release()
        eventually(lambda: running.is_over, within_s=60)

    report = balanced(books)
    assert report.compared >= len(running.placed) == 100 * runs
    nothing_there = {Check.DEAD_LETTERS, Check.WAREHOUSE, Check.LAKE}
    assert all(check.checked for check in report.checks if check.check not in nothing_there)
    assert report.is_full


def test_a_worker_that_stands_still_is_named_and_not_accused(
    stack: LocalStack, books: Books
) -> None:
    stack.stop_process("payment")
    with load(stack, orders=10) as running:
        running.release()
        eventually(lambda: running.is_over, within_s=30)

    report = books.run(within_s=3)
    assert report.verdict is Verdict.UNSETTLED, shown(report)
    assert "payment-service" in {each.who for each in report.awaited}, shown(report)
    assert not report.differences

    stack.start_process("payment")
    balanced(books)


def test_what_is_lost_is_named_with_both_figures(stack: LocalStack, books: Books) -> None:
    settings = database_settings(database_url(stack.settings, "payment"))
    with postgres.connect(settings, application_name="test", autocommit=True) as connection:
        row = connection.execute(
            "SELECT order_id::text FROM payment WHERE refunded_minor > 0 LIMIT 1"
        ).fetchone()
        assert row is not None
        change = "UPDATE payment SET refunded_minor = %s WHERE order_id = %s"
        [(captured,)] = connection.execute(
            "SELECT captured_minor FROM payment WHERE order_id = %s AND refunded_minor > 0", row
        )
        connection.execute(change, (0, *row))
        try:
            report = books.run(full=True, within_s=30)
        finally:
            connection.execute(
                "UPDATE payment SET refunded_minor = captured_minor WHERE order_id = %s"
                " AND state = 'SUCCEEDED'",
                row,
            )

    assert report.verdict is Verdict.DIFFERENT, shown(report)
    [difference] = report.differences
    assert (difference.check, difference.id) == (Check.MONEY, row[0])
    assert "CANCELLED, 0 EUR" in difference.expected
    assert f"is {captured} EUR" in difference.actual
    assert difference.command == f"orderflow trace {row[0]}"
    balanced(books)
