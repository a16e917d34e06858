"""Time as an argument: what a loop asks for the time and for the jitter of its back-offs."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

JITTER = 0.2


class Clock:
    """
    The machine's clock. A test passes a clock of its own, which it advances instead of waiting.
    """

    def __init__(self) -> None:
        self._draw = random.Random()  # noqa: S311 - spreads retries; nothing secret

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        return time.monotonic()

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def spread(self, seconds: float) -> float:
        """`seconds` ± 20 %, so that workers that failed together do not try again together."""
        return seconds * self._draw.uniform(1 - JITTER, 1 + JITTER)


CLOCK = Clock()
