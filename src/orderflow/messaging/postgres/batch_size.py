"""How many records a stage takes at a time: as many as succeed together, and end in time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from orderflow.messaging.postgres.connection import waiting_briefly
from orderflow.messaging.work.clock import Clock

BRIEFLY_FOR_S = 30.0
"""
For how long after a lock or a time-out a stage waits only briefly for a lock: to halve a batch of
500 down to the record that meets it takes nine more waits.
"""
CAREFULLY = 8
"""A batch grows by an eighth where it took too long before, as each failure costs a time-out."""


class BatchSize:
    """
    Halved by a failure, doubled by a success, up to `most`. `value` is the size of the next batch.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self.value = self._slow_from = self._most = most
        self._clock = clock
        self._briefly_until = 0.0

    def waiting(self) -> AbstractContextManager[None]:
        """Around each batch: how long its transaction waits for locks."""
        is_brief = self._clock.monotonic() < self._briefly_until
        return waiting_briefly() if is_brief else nullcontext()

    def succeeded(self) -> None:
        """Twice as many next time, where as many did not take too long before."""
        step = self.value if self.value < self._slow_from else max(1, self.value // CAREFULLY)
        self.value = min(self._most, self.value + step)
        if self.value == self._most:
            self._slow_from = self._most

    def failed(self, records: int) -> None:
        """A batch of so many failed: half of it next time."""
        self.value = max(1, records // 2)

    def contended(self, records: int) -> None:
        """A batch of so many met a lock or took too long."""
        self._briefly_until = self._clock.monotonic() + BRIEFLY_FOR_S
        if records == 1:
            # It is the record that meets something, not the size that takes too long.
            self._slow_from = self._most
        else:
            self.failed(records)
            self._slow_from = self.value
