"""
Why a process is not ready, as it was a moment ago: nobody who asks waits for a database or takes a
connection from those who need one.
"""

from __future__ import annotations

import threading

from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.reasons import Reasons

EVERY_S = 1.0
EVERY_S_NOT_READY = 0.2
"""A process that starts, or recovers, should be seen at once."""

STALE_AFTER_S = 10.0
"""Longer than a check of a database that is silent: 5 s to connect, 1 s for the answer."""

STARTING = "starting"

log = logger("readiness")


class Snapshot:
    """
    Asks for `reasons` on a thread of its own, every `every_s`, and keeps the answer.

    `start` and `close` from one thread; calls and `age_s` from any, at once. An answer that is
    older than 10 s is a reason itself: what hangs the check may hang the process.
    """

    def __init__(
        self,
        reasons: Reasons,
        *,
        name: str = "readiness",
        every_s: float = EVERY_S,
        clock: Clock = CLOCK,
    ) -> None:
        self._reasons = reasons
        self._name = name
        self._every_s = every_s
        self._clock = clock
        # One value, replaced as a whole: the reasons and when they were asked for.
        self._last = (clock.monotonic(), [STARTING])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"check-{name}", daemon=True)

    def __call__(self) -> list[str]:
        _, reasons = self._last
        age_s = self.age_s
        if age_s > STALE_AFTER_S:
            return [f"{self._name}: was not checked for {age_s:.0f} s", *reasons]
        return reasons

    @property
    def age_s(self) -> float:
        """How old the answer is, in seconds."""
        return self._clock.monotonic() - self._last[0]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask no more. A check that hangs ends with the process."""
        self._stop.set()
        self._thread.join(1)

    def check(self) -> list[str]:
        """Ask now, and keep the answer."""
        asked_at = self._clock.monotonic()
        try:
            reasons = self._reasons()
        except Exception:  # whatever it is, the process is not well
            log.exception("readiness can't be checked", name=self._name)
            reasons = [f"{self._name}: can't be checked"]
        self._last = (asked_at, reasons)
        return reasons

    def _run(self) -> None:
        while not self._stop.is_set():
            reasons = self.check()
            self._stop.wait(min(EVERY_S_NOT_READY, self._every_s) if reasons else self._every_s)
