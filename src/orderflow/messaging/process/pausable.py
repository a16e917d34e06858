"""A listener that can be paused: container after container in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from orderflow.messaging.container import Container
from orderflow.messaging.streams.pause import Pause, StopOrPause
from orderflow.messaging.telemetry import logger

LOOK_EVERY_S = 0.1

log = logger("listener")


class PausableListener:
    """
    `run` until it is told to stop, as `Container.run`; in a pause there is no container: it has
    committed what it could, and left the group. `reasons` may be called from any thread.
    """

    def __init__(self, build: Callable[[], Container], pause: Pause) -> None:
        self._build = build
        self._pause = pause
        # At once: what is wrong with its settings ends the process before it serves.
        self._container = build()
        self._stands_still = False

    def run(self, stop: threading.Event) -> None:
        while True:
            self._container.run(StopOrPause(stop, self._pause))
            if stop.is_set():
                return
            self._stand_still(stop)
            if stop.is_set():
                return
            self._container = self._build()

    def reasons(self) -> list[str]:
        """Why the listener is not ready; a pause is no reason: the answers go on."""
        return [] if self._stands_still else self._container.reasons()

    def _stand_still(self, stop: threading.Event) -> None:
        self._stands_still = True
        self._pause.kept()
        log.info("the listener is paused")

        while self._pause.is_wanted and not stop.wait(LOOK_EVERY_S):
            pass

        self._pause.over()
        self._stands_still = False
        log.info("the listener goes on")
