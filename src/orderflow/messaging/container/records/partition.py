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
from orderflow.messaging.kafka.finished_offsets import Window, admits, decode
from orderflow.messaging.telemetry import logger

BEGINNING = -1
"""Nothing was ever committed: the first record that comes is the first of the partition."""

RESUME_SPAN_MAX = 11_500
RESUME_UNFINISHED_MAX = (225, 1_000)

log = logger("listener")


class Partition:
    """
    State of one assigned partition, from the window that its group committed.

    `next` is the offset after the highest admitted one. An offset below it that was never delivered
    (a transaction's marker, an aborted record) counts as finished. `changed`: something finished
    since the last commit.
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
        self.gone = False
        self._to_come = deque(window.unfinished)
        self._lanes: dict[bytes, deque[Record]] = {}

    def may_admit(self, offset: int) -> bool:
        """Whether the window, with `offset` in it, still fits into a commit's metadata."""
        if offset < self.next:
            return True
        unfinished = self.unfinished
        if not unfinished:
            return True
        return admits(offset + 1 - next(iter(unfinished)), len(unfinished) + 1)

    def may_resume(self) -> bool:
        """Whether the window is down to half of its limits, so that fetching again is worth it."""
        unfinished = len(self.unfinished)
        if unfinished == 0:
            return True
        span = self.next - next(iter(self.unfinished))
        few, many = RESUME_UNFINISHED_MAX
        return (span <= RESUME_SPAN_MAX or unfinished <= few) and unfinished <= many

    def admit(self, message: Any) -> Record | None:
        """
        Add a fetched message to its key's lane. None if it was finished before a restart or a
        rebalance.
        """
        offset: int = message.offset()

        # A restored window names offsets that must come again. One that is passed over was deleted
        # by retention.
        to_come = self._to_come
        while to_come and to_come[0] < offset:
            self.unfinished.pop(to_come.popleft(), None)
        if to_come and to_come[0] == offset:
            to_come.popleft()
        elif offset < self.next:
            return None
        else:
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
        self.changed = True

    def reach_eof(self) -> None:
        """
        Count the offsets up to the partition's end as finished: behind the last record are only
        markers.
        """
        if not self.held and self.eof > self.next:
            while self._to_come:
                self.unfinished.pop(self._to_come.popleft(), None)
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
