"""
What this instance has of a topology's tables: written by the container's thread, read by any.

A task is one table on one partition. Its partition is assigned to one instance of the group; that
instance answers for its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from orderflow.messaging.streams.pause import Pause
from orderflow.messaging.streams.store.store import StoreReader

TaskId = tuple[str, int]
"""The table's name and the partition's number."""


class TaskState(StrEnum):
    """
    ACTIVE: the store is at the committed position. RESTORING: it is older, and grows. PAUSED: the
    listener stands still, and so does the store.
    """

    ACTIVE = "ACTIVE"
    RESTORING = "RESTORING"
    PAUSED = "PAUSED"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a restore is, in offsets of its changelogs; `per_s` over the time since it began."""

    done: int
    total: int
    per_s: float

    @property
    def seconds_left(self) -> float | None:
        """None while nothing is read yet."""
        return (self.total - self.done) / self.per_s if self.per_s else None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """
    One table on one partition, as it is now. `progress` while it restores; `restoring_since`: when
    its store ceased to be at the committed position, in the container's monotonic seconds.

    `input`: everything below this offset of the repartition topic is in the store, and perhaps
    more; ask for it before reading the store.
    """

    table: str
    partition: int
    state: TaskState
    reader: StoreReader
    input: int
    progress: Progress | None = None
    restoring_since: float | None = None


class LocalState:
    """
    The tasks of this instance. `tasks` may be called from any thread; a task that leaves may still
    be read for a moment, and is then as old as its last commit. `pause`: whether the listener is to
    stand still.
    """

    def __init__(self) -> None:
        self.pause = Pause()
        self._tasks: Mapping[TaskId, Task] = MappingProxyType({})

    @property
    def tasks(self) -> Mapping[TaskId, Task]:
        return self._tasks

    def put(self, task: Task) -> None:
        """Show `task`, in place of what was shown of it before."""
        # A new mapping each time: who reads the old one meanwhile is not disturbed.
        self._tasks = MappingProxyType({**self._tasks, (task.table, task.partition): task})

    def remove(self, table: str, partition: int) -> None:
        """
        The task is not this instance's any more. In a pause it stays, as it was: its answers are
        older than nobody's.
        """
        task = self._tasks.get((table, partition))
        if task is not None and self.pause.is_wanted:
            self.put(replace(task, state=TaskState.PAUSED, progress=None))
            return
        left = {at: task for at, task in self._tasks.items() if at != (table, partition)}
        self._tasks = MappingProxyType(left)
