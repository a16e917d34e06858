"""What several drills expect, in the same words."""

from __future__ import annotations

from orderflow.drills.drill import Expectation
from orderflow.drills.scene import Scene, Snapshot

ENOUGH = 20
"""So many orders show that things go on."""


def nobody_is_refused(scene: Scene, before: Snapshot) -> Expectation:
    """For `throughout`: the order API answers every request, and takes every order."""
    return Expectation(
        what="every order is taken",
        is_met=lambda: (
            scene.load.refused == before.refused and scene.load.unanswered == before.unanswered
        ),
    )


def orders_are_taken(scene: Scene, before: Snapshot, *, within_s: float = 30.0) -> Expectation:
    return Expectation(
        what=f"{ENOUGH} more orders are taken",
        is_met=lambda: len(scene.load.placed) >= before.placed + ENOUGH,
        within_s=within_s,
    )


def orders_are_finished(scene: Scene, before: Snapshot, *, within_s: float = 30.0) -> Expectation:
    return Expectation(
        what=f"{ENOUGH} more orders are finished",
        is_met=lambda: Snapshot.of(scene).finished >= before.finished + ENOUGH,
        within_s=within_s,
    )


def letters_are_open(
    scene: Scene, before: Snapshot, count: int, *, what: str, within_s: float = 30.0
) -> Expectation:
    """`count` more dead letters than before are open."""
    return Expectation(
        what=what,
        is_met=lambda: (
            scene.figures.cluster is not None
            and scene.figures.cluster.letters == before.letters + count
        ),
        within_s=within_s,
    )


def is_behind(scene: Scene, service: str, records: int, *, within_s: float = 60.0) -> Expectation:
    """The service's group has at least so many records to do."""
    return Expectation(
        what=f"{service} falls behind, by {records} records",
        is_met=lambda: (
            scene.figures.cluster is not None and scene.figures.cluster.lag[service] >= records
        ),
        within_s=within_s,
    )


def ends_as(
    scene: Scene,
    order_id: str,
    *,
    what: str,
    status: str = "",
    within_s: float = 30.0,
    **fields: str,
) -> Expectation:
    """The order API shows the order with this status, payment state (`payment`) and `stock`."""

    def is_met() -> bool:
        order = scene.order(order_id)
        shown = {"payment": order["payment"]["state"], "stock": order["stock"]}
        return status in ("", order["status"]) and fields.items() <= shown.items()

    return Expectation(what=what, is_met=is_met, within_s=within_s)


def comes_back(
    scene: Scene, process: str, restarts_before: int, *, within_s: float = 60.0
) -> Expectation:
    """The process has ended by itself since, and the stack has started it again."""
    return Expectation(
        what=f"{process} is killed there, and comes back by itself",
        is_met=lambda: scene.restarts(process) > restarts_before and scene.is_up(process),
        within_s=within_s,
    )


def no_letter_is_opened(scene: Scene, before: Snapshot) -> Expectation:
    """For `throughout`: what can't be done now is nobody's failure."""
    return Expectation(
        what="nothing becomes a dead letter",
        is_met=lambda: (
            scene.figures.cluster is None or scene.figures.cluster.letters == before.letters
        ),
    )
