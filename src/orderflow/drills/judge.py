"""Whether anything is wrong when a drill is at rest."""

from __future__ import annotations

from typing import Protocol

import msgspec

from orderflow.drills.scene import Scene
from orderflow.drills.service_views import count_known
from orderflow.trials.stack_books import audit, sentences


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
        report = audit(scene.stack.settings, scene.access)
        orders = f"the books of {report.orders:,} orders"
        return Judgement(judged=orders, wrong=(*rest.wrong, *sentences(report)))
