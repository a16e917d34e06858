"""
Where admitted records stand: unread, to prepare, ready, waiting; and calls whose outcome is not
recorded. No I/O.

Entries can be stale: a partition was taken away, or a record was put back before another of its
key. Whoever takes a record out checks `is_head` first.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import count

from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.work.calls import Ended
from orderflow.messaging.work.clock import Clock

EndedCall = Ended[Record]


class Queues:
    """
    The heads of all lanes, by what they need next.

    `calling` are the keys that have a call whose end is not recorded. They outlive the partition
    that the call was begun for: its next owner may be this worker again.
    """

    def __init__(self, clock: Clock) -> None:
        self.unread: deque[Record] = deque()
        self.to_prepare: deque[Record] = deque()
        self.ready: deque[Record] = deque()
        self.ended: list[EndedCall] = []
        self.calling: set[bytes] = set()
        self._waiting: list[tuple[float, int, Record]] = []
        self._sequence = count()
        self._clock = clock

    def wait(self, record: Record, seconds: float) -> None:
        """Keep `record` for `seconds` ± 20 %. It stays the head of its key."""
        record.progress.state = State.WAITING
        due = self._clock.monotonic() + self._clock.spread(seconds)
        heapq.heappush(self._waiting, (due, next(self._sequence), record))

    @property
    def next_due(self) -> float | None:
        """When the first waiting record is due, in monotonic seconds."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, now: float) -> list[Record]:
        """Take out the records whose wait is over."""
        due = []
        while self._waiting and self._waiting[0][0] <= now:
            record = heapq.heappop(self._waiting)[2]
            if record.is_head:
                due.append(record)
        return due

    def take_to_prepare(self, at_most: int) -> list[Record]:
        """
        Take out records to prepare, the longest waiting first: at most one of each key over all
        partitions, and none of a key that has a call. Those stay, in their order. One that runs
        alone comes by itself.
        """
        batch: list[Record] = []
        keys = set(self.calling)
        later: list[Record] = []
        to_prepare = self.to_prepare
        while to_prepare and len(batch) < at_most:
            record = to_prepare.popleft()
            if record.progress.state is not State.TO_PREPARE or not record.is_head:
                continue
            if record.key in keys:
                later.append(record)
            elif record.runs_alone:
                if batch:
                    to_prepare.appendleft(record)
                else:
                    batch.append(record)
                break
            else:
                keys.add(record.key)
                batch.append(record)

        to_prepare.extendleft(reversed(later))
        return batch

    def take_wave(self, at_most: int) -> list[Record]:
        """
        Take out ready records, at most one of each key over all partitions; one that runs alone
        comes by itself.
        """
        wave: list[Record] = []
        keys: set[bytes] = set()
        later: list[Record] = []
        ready = self.ready
        while ready and len(wave) < at_most:
            record = ready.popleft()
            if record.progress.state is not State.READY or not record.is_head:
                continue
            if record.key in keys:
                later.append(record)
            elif record.runs_alone:
                if wave:
                    ready.appendleft(record)
                else:
                    wave.append(record)
                break
            else:
                keys.add(record.key)
                wave.append(record)

        ready.extendleft(reversed(later))
        return wave

    def take_contended(self) -> list[Record]:
        """Take out the ready records that have met a lock before."""
        contended = [record for record in self.ready if record.progress.contentions]
        if contended:
            self.ready = deque(record for record in self.ready if not record.progress.contentions)
        return contended

    def put_back(self, wave: Sequence[Record]) -> None:
        """Make `wave` the first that are ready, in its order."""
        self.ready.extendleft(reversed(wave))

    def try_later(self, queue: deque[Record], batch: Sequence[Record]) -> None:
        """
        Back to `queue`, as nothing can be done now: in their order, before the others. A record
        that was tried alone goes behind the others: if only that record finds the resource away,
        the next probe must not be the same.
        """
        if len(batch) == 1:
            queue.extend(batch)
        else:
            queue.extendleft(reversed(batch))

    def forget(self) -> None:
        """
        Drop everything but calls, ended or not: the outcome of an external call must be recorded
        even if another worker announces it.
        """
        for queue in (self.ready, self.to_prepare, self.unread):
            queue.clear()
        self._waiting = []
