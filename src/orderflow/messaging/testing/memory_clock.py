"""A clock that a test advances: no test of a loop has to wait for a back-off."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from orderflow.messaging.work.clock import Clock


class MemoryClock(Clock):
    """
    Begins at the machine's time, or at `start`; stands still until `advance`. Jitter follows from
    `seed`.
    """

    def __init__(self, *, seed: int = 0, start: datetime | None = None) -> None:
        super().__init__()
        self._draw = random.Random(seed)  # noqa: S311 - repeatable is what it must be
        self._start = start or datetime.now(UTC)
        self._elapsed_s = 0.0

    def monotonic(self) -> float:
        # Not from 0: real monotonic clocks do not begin there, and 0 means "never" in some places.
        return 1_000.0 + self._elapsed_s

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def advance(self, seconds: float) -> None:
        self._elapsed_s += max(0.0, seconds)

    def advance_to(self, monotonic_s: float) -> None:
        """Advance until `monotonic` returns at least this; never goes back."""
        self.advance(monotonic_s - self.monotonic())
