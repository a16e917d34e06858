"""
The restarter: starts Connect's failed tasks again, later each time.

Connect leaves a failed task alone until somebody restarts it. What a sink fails at is as a rule its
database: away, full, read-only. That heals, and then the sink goes on where it was. A record that
the database refuses for good fails again each time: it stays visible, and nothing else waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

from orderflow.connect.rest import ConnectorState
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.telemetry import MeasuredGauge, counter, logger
from orderflow.messaging.work.clock import CLOCK, Clock

FIRST_AGAIN_S = 5.0
LONGEST_AGAIN_S = 60.0

RUNNING = MeasuredGauge(
    "connector_running",
    "1 while a connector of Connect and all its tasks run, else 0.",
    ("connector",),
)
RESTARTS = counter(
    "connector_restarts", "How often a connector's failed tasks were started again.", ("connector",)
)

log = logger("connectors")


class Connectors(Protocol):
    """What the restarter needs of a worker."""

    def states(self) -> Sequence[ConnectorState]:
        """All connectors. Raises Unavailable."""

    def restart(self, name: str, *, only_failed: bool) -> None:
        """Restart a connector's tasks."""

    def close(self) -> None: ...


class Restarter:
    """
    `run(stop)` on one thread. `connectors`: None where no worker is named; then nothing is done.

    Nothing is restarted while `has_schemas` says no: a task that starts knows no schema yet, and
    without the registry it would take every record for a bad one. A worker that does not answer
    makes nothing unready: it says so itself.
    """

    def __init__(
        self,
        connectors: Connectors | None,
        *,
        has_schemas: Callable[[], bool],
        every_s: float,
        clock: Clock = CLOCK,
    ) -> None:
        self._connectors = connectors
        self._has_schemas = has_schemas
        self._every_s = every_s
        self._clock = clock
        self._waits: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        if self._connectors is None:
            stop.wait()
            return
        with closing(self._connectors):
            while not stop.wait(self._every_s):
                self.turn(self._connectors)

    def turn(self, connectors: Connectors) -> None:
        """Look once, and restart what is due."""
        try:
            states = connectors.states()
        except OrderflowError:
            RUNNING.hide()
            return

        for state in states:
            RUNNING.set(float(state.is_running), state.name)
            if not state.has_failed:
                self._forget(state)
            elif self._is_due(state.name) and self._has_schemas():
                self._restart(connectors, state)

    def _forget(self, state: ConnectorState) -> None:
        # Not as soon as it runs: a task runs for a moment before it fails again.
        if self._clock.monotonic() > self._due.get(state.name, 0.0):
            self._waits.pop(state.name, None)
            self._due.pop(state.name, None)

    def _is_due(self, name: str) -> bool:
        now = self._clock.monotonic()
        if name not in self._due:
            self._due[name] = now + FIRST_AGAIN_S
        return now >= self._due[name]

    def _restart(self, connectors: Connectors, state: ConnectorState) -> None:
        wait_s = min(2 * self._waits.get(state.name, FIRST_AGAIN_S), LONGEST_AGAIN_S)
        self._waits[state.name] = wait_s
        self._due[state.name] = self._clock.monotonic() + wait_s
        log.warning("a connector failed: its tasks are started again", connector=state.name)

        try:
            connectors.restart(state.name, only_failed=True)
        except OrderflowError as error:
            log.warning("a connector was not restarted", connector=state.name, why=str(error))
            return
        RESTARTS.labels(state.name).inc()
