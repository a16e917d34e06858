"""
The books of a live system: no false alarm under load, a worker that stands still is named and not
accused, and what is really wrong is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.databases import database_settings

from orderflow.books.audit import Books
from orderflow.books.report import BooksReport, Check, Verdict
from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.messaging import postgres
from orderflow.messaging.testing.eventually import eventually
from orderflow.contracts.roster import ROSTER
from orderflow.stack.addresses import api_url, database_url, psp_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import Service
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials.harness import access
from orderflow.trials.order_load import OrderLoad

SERVICES: tuple[Service, ...] = tuple(
    member.name for member in ROSTER if member.name != "operations"
)
SKUS = ["MOUSE-01", "CABLE-USBC-2M", "LAMP-01"]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with temporary_stack((*INFRASTRUCTURE, *SERVICES, "psp", "mail")) as stack:
        yield stack


@contextmanager
def kept(stack: LocalStack, state_dir: Path) -> Iterator[Books]:
    section = BooksSection(
        databases=BooksDatabases.model_validate(
            {name: database_url(stack.settings, name) for name in BooksDatabases.model_fields}
        ),
        ledger_url=psp_url(stack.settings),
        state_dir=state_dir,
    )
    reach = access(stack)
    books = Books(section, reach.kafka, reach.registry)
    try:
        yield books
    finally:
        books.close()


def shown(report: BooksReport) -> str:
    lines = [
        f"{each.check} {each.id}: {each.expected} / {each.actual}"
        for each in (
            *report.differences,
            *report.in_flight,
            *(e.difference for e in report.explained),
        )
    ]
    return "\n".join(
        (
            f"{report.verdict} {report.duration_s:.1f} s",
            *map(str, report.awaited),
            *report.notes,
            *lines[:20],
        )
    )


def test_a_live_system_raises_no_false_alarm(stack: LocalStack, tmp_path: Path) -> None:
    load = OrderLoad(api_url(stack.settings, "order"), skus=SKUS, customers=20, orders=400, seed=5)
    load.start()
    try:
        with kept(stack, tmp_path) as books:
            runs = 0
            while not load.is_over or runs < 3:
                report = books.run(within_s=5)
                print(shown(report))
                assert report.verdict is not Verdict.DIFFERENT, shown(report)
                runs += 1
                load.release()
            assert load.failure is None
            eventually(
                lambda: books.run(full=True, within_s=60).verdict is Verdict.BALANCED, within_s=60
            )

            report = books.run(full=True)
            print(shown(report))
            assert report.compared >= len(load.placed) == 400
    finally:
        load.stop()
