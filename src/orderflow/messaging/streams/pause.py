"""A pause of one instance's listener: asked for over HTTP, kept by its thread."""

from __future__ import annotations

import threading
from typing import NamedTuple

from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.clock import CLOCK, Clock

SECONDS_MAX = 300.0

log = logger("streams")


class Request(NamedTuple):
    """Who wants the pause, why, and until when in monotonic seconds."""

    actor: str
    reason: str
    until: float


class Pause:
    """
    Whether this instance's listener is to stand still. Any thread may call any method.

    A pause ends by itself: a command that was killed must not stop a service for good.
    """

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._request: Request | None = None
        self._is_kept = threading.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether the listener is to stand still now."""
        request = self._request
        return request is not None and self._clock.monotonic() < request.until

    def begin(self, seconds: float, *, actor: str, reason: str) -> None:
        """Begin a pause, or lengthen the present one: `seconds` from now."""
        self._request = Request(actor, reason, self._clock.monotonic() + seconds)
        log.info("the listener is to pause", actor=actor, reason=reason, seconds=seconds)

    def end(self, *, actor: str) -> None:
        """End the pause, if there is one."""
        self._request = None
        log.info("the listener is to go on", actor=actor)

    def kept(self) -> None:
        """The listener stands still, and everything that it had is committed or put back."""
        self._is_kept.set()

    def over(self) -> None:
        """The listener goes on."""
        self._is_kept.clear()

    def wait_until_kept(self, within_s: float) -> bool:
        """Whether the listener stands still within so many seconds."""
        return self._is_kept.wait(within_s)


class StopOrPause(threading.Event):
    """Set as soon as `stop` is, or a pause is wanted: what ends one run of a listener."""

    def __init__(self, stop: threading.Event, pause: Pause) -> None:
        super().__init__()
        self._stop = stop
        self._pause = pause

    def is_set(self) -> bool:
        return self._stop.is_set() or self._pause.is_wanted

    def wait(self, timeout: float | None = None) -> bool:
        return self._stop.wait(timeout) or self._pause.is_wanted
