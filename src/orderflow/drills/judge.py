"""Whether anything is wrong when a drill is at rest."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec

from orderflow.books.audit import Books
from orderflow.books.report import BooksReport, Difference, Verdict
from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.drills.scene import Scene
from orderflow.drills.service_views import count_known
from orderflow.stack.addresses import database_url, psp_url

SETTLED_WITHIN_S = 30.0
SHOWN_MAX = 5


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """`wrong`: a sentence for each thing that is; empty if all is well. `judged`: what was."""

    judged: str
    wrong: tuple[str, ...] = ()


class Judge(Protocol):
    """Judges a stack at rest: nothing is in flight."""

    def judge(self, scene: Scene, *, letters: int) -> Judgement:
        """`letters`: how many dead letters may be open. Raises Transient."""


class RestJudge:
    """Every order that was answered is there and waits for nobody of ours; letters as expected."""

    def judge(self, scene: Scene, *, letters: int) -> Judgement:
        figures, wrong = scene.figures, []
        placed = sorted(set(scene.load.placed))
        lost = len(placed) - count_known(scene.databases["order"], placed)
        if lost:
            wrong.append(f"{lost} orders were answered with 201 and are not there")

        if figures.tables is not None and figures.tables.orders.waiting:
            wrong.append(f"{figures.tables.orders.waiting} orders wait for us")
        if figures.cluster is not None and figures.cluster.letters != letters:
            wrong.append(f"{figures.cluster.letters} dead letters are open, not {letters}")
        return Judgement(judged="orders and dead letters", wrong=tuple(wrong))


class BooksJudge:
    """As `RestJudge`; and the books of everything that the stack has ever done are balanced."""

    def judge(self, scene: Scene, *, letters: int) -> Judgement:
        rest = RestJudge().judge(scene, letters=letters)
        with tempfile.TemporaryDirectory() as directory:
            report = self._audit(scene, Path(directory))
        orders = f"the books of {report.orders:,} orders"
        return Judgement(judged=orders, wrong=(*rest.wrong, *_sentences(report)))

    def _audit(self, scene: Scene, directory: Path) -> BooksReport:
        settings = scene.stack.settings
        names = BooksDatabases.model_fields
        databases = {name: database_url(settings, name) for name in names}
        section = BooksSection(
            databases=BooksDatabases.model_validate(databases),
            ledger_url=psp_url(settings),
            state_dir=directory,
        )
        with closing(Books(section, scene.access.kafka, scene.access.registry)) as books:
            return books.run(full=True, within_s=SETTLED_WITHIN_S)


def _sentences(report: BooksReport) -> list[str]:
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
