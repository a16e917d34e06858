"""
One assigned partition: which records are unfinished, which are held back, and in which order those
of a key come.

Nothing in here does I/O. A partition that was taken away is marked `gone`; whatever still refers to
it is dropped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from orderflow.messaging.container.records.record import Progress, Record, State
from orderflow.messaging.kafka.finished_offsets import (
    UNFINISHED_MAX,
    Window,
    added_bytes_max,
    admits,
    decode,
    has_room,
    runs_bytes_max,
    surely_writable,
)
from orderflow.messaging.telemetry import logger

BEGINNING = -1
"""Nothing was ever committed: the first record that comes is the first of the partition."""

log = logger("listener")


class Partition:
    """
    State of one assigned partition, from the window that its group committed.

    `next` is the offset after the highest admitted one. An offset below it that was never delivered
    (a transaction's marker, an aborted record) counts as finished. `changed`: something finished
    since the last commit. `restoring`: its state is not there yet, so nothing of it is fetched.
    """

    def __init__(self, topic: str, number: int, window: Window) -> None:
        self.topic = topic
        self.number = number
        self.next = window.end
        self.unfinished: OrderedDict[int, Record | None] = OrderedDict.fromkeys(window.unfinished)
        self.held: deque[Any] = deque()
        self.eof = BEGINNING
        self.start = window.base
        self.changed = False
        self.paused = False
        self.restoring = False
        self.gone = False
        self._to_come = deque(window.unfinished)
        self._lanes: dict[bytes, deque[Record]] = {}

        # An upper bound: kept while records come, worked out anew when it is too much and some have
        # finished since.
        self._runs_bytes = runs_bytes_max(window.unfinished)
        self._highest = window.unfinished[-1] if window.unfinished else window.end
        self._finished_since = False

    def may_admit(self, offset: int) -> bool:
        """Whether the window, with `offset` in it, still fits into a commit's metadata."""
        # First, because what the log does not have any more would fill the window for good.
        if self._to_come:
            self._pass_over(offset)
        unfinished = self.unfinished
        if offset < self.next or not unfinished:
            return True
        if surely_writable(offset + 1 - next(iter(unfinished))):
            return len(unfinished) + 1 < UNFINISHED_MAX

        def fits() -> bool:
            span = offset + 1 - next(iter(self.unfinished))
            runs_bytes = self._runs_bytes + added_bytes_max(offset - self._highest)
            return admits(span, len(self.unfinished) + 1, runs_bytes)

        return fits() or (self._count_runs_again() and fits())

    def may_resume(self) -> bool:
        """Whether the window is down to half of its limits, so that fetching again is worth it."""
        if self.restoring:
            return False
        # What is expected to come again is not there yet: without fetching it never will be.
        if not self.unfinished or self._to_come:
            return True
        self._count_runs_again()
        span = self.next - next(iter(self.unfinished))
        return has_room(span, len(self.unfinished), self._runs_bytes)

    def admit(self, message: Any) -> Record | None:
        """
        Add a fetched message to its key's lane. None if it was finished before a restart or a
        rebalance.
        """
        offset: int = message.offset()

        to_come = self._to_come
        if to_come:
            self._pass_over(offset)
        if to_come and to_come[0] == offset:
            to_come.popleft()
        elif offset < self.next:
            return None
        else:
            self._runs_bytes = (
                self._runs_bytes + added_bytes_max(offset - self._highest) if self.unfinished else 1
            )
            self._highest = offset
            self.next = offset + 1

        key: bytes = message.key() or b""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        record = Record(message, self, offset, key, lane, Progress())
        self.unfinished[offset] = record
        lane.append(record)
        return record

    def advance(self, record: Record) -> Record | None:
        """Take `record` off the head of its lane; returns the new head, if there is one."""
        lane = record.lane
        if lane and lane[0] is record:
            lane.popleft()
        if lane:
            return lane[0]
        self._lanes.pop(record.key, None)
        return None

    def put_back(self, record: Record) -> None:
        """
        Make `record` ready and the head of its lane again. Of several, put back the last one first.
        """
        record.progress.state = State.READY
        if not record.lane or record.lane[0] is not record:
            record.lane.appendleft(record)
        # The lane may have been dropped as empty, and a later record of the key must not get a
        # second one.
        self._lanes[record.key] = record.lane

    def finish(self, record: Record) -> None:
        """The record is finished for good: its effect is committed, and nothing takes that back."""
        record.progress.state = State.FINISHED
        self.unfinished.pop(record.offset, None)
        self.changed = self._finished_since = True

    @property
    def is_clear(self) -> bool:
        """Whether nothing of it waits, is held back, or is expected to come again."""
        return not (self.unfinished or self.held or self._to_come or self.restoring)

    def pass_to(self, following: int) -> None:
        """Everything below `following` was handed over in bulk, in the present turn."""
        self.next = following
        self.changed = self._finished_since = True

    @property
    def base(self) -> int:
        """The lowest unfinished offset: what was committed last, markers at the end excepted."""
        return next(iter(self.unfinished), max(self.next, 0))

    @property
    def position(self) -> int:
        """The lowest offset that has not come yet, though it must; below 0: the first there is."""
        if self.held:
            last: int = self.held[-1].offset()
            return last + 1
        return self._to_come[0] if self._to_come else self.next

    def skip_to(self, first: int) -> int:
        """
        Expect nothing below `first` any more, the first offset that the log has; returns how many
        unfinished offsets are gone.
        """
        if self.held:
            return first - self.position
        never_read = self.next < 0
        unread = 0 if never_read else max(0, first - self.next)
        return self._pass_over(first) + unread

    def reach_eof(self) -> None:
        """
        Count the offsets up to the partition's end as finished: behind the last record are only
        markers.
        """
        if not self.held and self.eof > self.next:
            self._pass_over(self.eof)
            self.next = self.eof
            self.changed = True

    @property
    def waits_for_nothing(self) -> bool:
        """
        Whether every admitted record is finished; those that a restored window still expects do not
        count.
        """
        return all(record is None for record in self.unfinished.values())

    def window(self, *, include_handled: bool) -> Window:
        """
        The offsets to commit.

        With `include_handled`, records handled in this turn count as finished, because a Kafka
        transaction commits them together with these offsets. Without it (a plain commit) only
        finished records count.
        """
        if not include_handled:
            return Window(self.next, tuple(self.unfinished))
        return Window(
            self.next,
            tuple(
                offset
                for offset, record in self.unfinished.items()
                if record is None or record.progress.state is not State.HANDLED
            ),
        )

    def _pass_over(self, offset: int) -> int:
        """
        Drop what a restored window names below `offset` and has not come: the log does not have it
        any more. Returns how many these are.
        """
        passed = 0
        while self._to_come and self._to_come[0] < offset:
            self.unfinished.pop(self._to_come.popleft(), None)
            self.changed = self._finished_since = True
            passed += 1
        return passed

    def _count_runs_again(self) -> bool:
        """Whether the bound on the coded bytes may be lower now, because records have finished."""
        if not self._finished_since:
            return False
        self._runs_bytes = runs_bytes_max(self.unfinished)
        self._highest = next(reversed(self.unfinished), self._highest)
        self._finished_since = False
        return True


def begun_anew(partition: Partition, *, first: int) -> Partition:
    """The state in place of `partition` when its log is another one: nothing of it is finished."""
    anew = Partition(partition.topic, partition.number, Window(first))
    # So that the group's offset is one that this log has, even if no record comes.
    anew.changed = True
    return anew


def restored(place: tuple[str, int], offset: int, metadata: str | None) -> Partition:
    """
    The state of a partition from what its group committed; `offset` is below 0 if that is nothing.
    """
    topic, number = place
    where = f"{topic}-{number}"
    if offset < 0:
        return Partition(topic, number, Window(BEGINNING))

    def ignored(why: str) -> None:
        log.warning("metadata beside a committed offset is ignored", partition=where, why=why)

    window = decode(metadata, offset=offset, on_ignored=ignored)
    if window.unfinished:
        unfinished = len(window.unfinished)
        log.info("finished records were handed over", partition=where, waiting=unfinished)
    return Partition(topic, number, window)
