"""What an instance restores, as metrics: read when somebody asks, from what it shows anyway."""

from __future__ import annotations

from collections.abc import Iterable

from orderflow.messaging.streams.local_state import LocalState, Task, TaskState
from orderflow.messaging.telemetry import ComputedGauge
from orderflow.messaging.work.clock import CLOCK, Clock

RESTORING = ComputedGauge(
    "streams_restoring_partitions",
    "Partitions of this instance's tables whose stores are restored now.",
    ["listener"],
)
OLDEST_S = ComputedGauge(
    "streams_restoring_oldest_seconds",
    "How long the longest of the restores has taken until now; 0 without one.",
    ["listener"],
)
RECORDS_LEFT = ComputedGauge(
    "streams_restore_records_left",
    "Changelog offsets that the restores have still to read, as far as they have begun.",
    ["listener"],
)


def export(listener: str, local: LocalState, *, clock: Clock = CLOCK) -> None:
    """Show from now on what is restored in `local`."""

    def restoring() -> list[Task]:
        return [task for task in local.tasks.values() if task.state is TaskState.RESTORING]

    labels = (listener,)
    RESTORING.follow(lambda: {labels: len(restoring())})
    OLDEST_S.follow(lambda: {labels: _oldest_s(restoring(), now=clock.monotonic())})
    RECORDS_LEFT.follow(lambda: {labels: _left(restoring())})


def _oldest_s(restoring: Iterable[Task], *, now: float) -> float:
    began = (task.restoring_since for task in restoring if task.restoring_since is not None)
    return max((now - since for since in began), default=0.0)


def _left(restoring: Iterable[Task]) -> int:
    return sum(task.progress.total - task.progress.done for task in restoring if task.progress)
