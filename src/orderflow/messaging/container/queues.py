"""
Where admitted records stand: ready to run, to be prepared, waiting, unread, done in this turn. Nothing here does I/O.

Entries may be stale (a partition was taken away, a record was put back before another of its key): whoever takes one
out asks `is_head` first.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count

from orderflow.messaging.container.partition import Item
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.work.calls import Ended
from orderflow.messaging.work.clock import Clock

Finished = Ended[Item]


class Queues:
    """
    `ready` may run; `prep` must be prepared first; `unread` need the registry; `ended` are calls whose outcome is not
    recorded yet.

    Of this turn, until its commit: `done` with their `outputs`, `skipped`, and `dead` with their letters.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ready: deque[Item] = deque()
        self.prep: deque[Item] = deque()
        self.unread: deque[Item] = deque()
        self.ended: list[Finished] = []
        self.done: list[Item] = []
        self.outputs: list[Produced] = []
        self.skipped: list[Item] = []
        self.dead: list[tuple[Item, Produced]] = []
        self._waiting: list[tuple[float, int, Item]] = []
        self._sequence = count()

    def wait(self, item: Item, seconds: float) -> None:
        """For `seconds`, ± 20 %."""
        due = self._clock.monotonic() + self._clock.spread(seconds)
        heapq.heappush(self._waiting, (due, next(self._sequence), item))

    @property
    def next_due(self) -> float | None:
        """Monotonic seconds."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, now: float) -> list[Item]:
        """Those whose waiting is over."""
        found = []
        while self._waiting and self._waiting[0][0] <= now:
            item = heapq.heappop(self._waiting)[2]
            if item.is_head:
                found.append(item)
        return found

    def take_prep(self, at_most: int) -> list[Item]:
        batch: list[Item] = []
        while self.prep and len(batch) < at_most:
            item = self.prep.popleft()
            if item.is_head:
                batch.append(item)
        return batch

    def take_wave(self, at_most: int) -> list[Item]:
        """Ready records, at most one for each key; one that failed before comes by itself."""
        wave: list[Item] = []
        keys: set[bytes] = set()
        later: list[Item] = []
        ready = self.ready
        while ready and len(wave) < at_most:
            item = ready.popleft()
            if item.done or not item.is_head:
                continue
            if item.key in keys:
                later.append(item)
            elif item.alone:
                if wave:
                    ready.appendleft(item)
                else:
                    wave.append(item)
                break
            else:
                keys.add(item.key)
                wave.append(item)
        ready.extendleft(reversed(later))
        return wave

    def put_back(self) -> None:
        """Nothing of this turn happened: its records are first again, in their order, and no attempt is counted."""
        done, self.done, self.outputs = self.done, [], []
        for item in reversed(done):
            if not item.partition.gone:
                item.partition.put_back(item)
                self.ready.appendleft(item)

    def committed(self) -> list[Item]:
        """This turn is over: what it had finished, to be handed on."""
        over = [*self.done, *self.skipped, *(item for item, _letter in self.dead)]
        self.done, self.outputs, self.skipped, self.dead = [], [], [], []
        return over

    def drop_gone(self) -> None:
        """Forget what waits for a commit and belongs to somebody else by now."""
        if any(item.partition.gone for item in self.skipped):
            self.skipped = [item for item in self.skipped if not item.partition.gone]
        if any(item.partition.gone for item, _letter in self.dead):
            self.dead = [(item, letter) for item, letter in self.dead if not item.partition.gone]

    def forget(self) -> None:
        """All but `ended`: what somebody outside has done must be recorded, whoever announces it."""
        for queue in (self.ready, self.prep, self.unread):
            queue.clear()
        self.done, self.outputs, self.skipped, self.dead, self._waiting = [], [], [], [], []
