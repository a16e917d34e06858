"""
How a sender learns that something was noted: from the listener of its own process, at once.

A sender without one, whose listener is another process, finds it by polling.
"""

from __future__ import annotations

import threading
import time

RINGS_FOR_S = 60.0
"""For how long after a ring the next one is expected to come the same way."""


class Doorbell:
    """Any thread may `ring`; one waits. Rings before it comes back are one ring."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._rung_at = float("-inf")

    @property
    def is_used(self) -> bool:
        """Whether somebody in this process rings it."""
        return time.monotonic() - self._rung_at < RINGS_FOR_S

    def ring(self) -> None:
        self._rung_at = time.monotonic()
        self._rung.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; whether it rang. Look for what was noted after this."""
        rang = self._rung.wait(seconds)
        self._rung.clear()
        return rang


NOTED = Doorbell()
"""This process's own."""
