"""The books of everything that a stack has ever done, compared when it is at rest."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from orderflow.books.audit import Books
from orderflow.books.report import BooksReport, Difference, Verdict
from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.stack.addresses import database_url, psp_url
from orderflow.stack.settings import StackSettings
from orderflow.trials.harness import Access

SETTLED_WITHIN_S = 30.0
SHOWN_MAX = 5


def audit(settings: StackSettings, access: Access) -> BooksReport:
    """Compare every order, from the beginning. Raises Transient when a side is away."""
    names = BooksDatabases.model_fields
    databases = {name: database_url(settings, name) for name in names}
    with tempfile.TemporaryDirectory() as directory:
        section = BooksSection(
            databases=BooksDatabases.model_validate(databases),
            ledger_url=psp_url(settings),
            state_dir=Path(directory),
        )
        with closing(Books(section, access.kafka, access.registry)) as books:
            return books.run(full=True, within_s=SETTLED_WITHIN_S)


def sentences(report: BooksReport) -> list[str]:
    """What is different; and what could not be decided, which at rest is wrong too."""
    if report.verdict is Verdict.BALANCED:
        return []

    shown = [_sentence(difference) for difference in report.differences[:SHOWN_MAX]]
    more = report.count("differences") - len(shown)
    undecided = [_sentence(difference) for difference in report.in_flight[:SHOWN_MAX]]
    waiting = [f"the books wait for {each.who}: {each.what}" for each in report.awaited]
    return [
        *shown,
        *([f"{more} more differences in the books"] if more > 0 else []),
        *(f"not settled: {sentence}" for sentence in undecided),
        *waiting,
    ]


def _sentence(difference: Difference) -> str:
    return (
        f"{difference.check.value}: {difference.subject.value} {difference.id}: "
        f"{difference.expected}; {difference.actual}"
    )
