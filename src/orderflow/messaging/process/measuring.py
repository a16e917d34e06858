"""
What a process measures in the background: one thread, one round every ten seconds.

A measurement that fails hides its gauges until it succeeds again: who watches sees that the value
is unknown, never an old value as if it were new. `orderflow_measurement_failing` says which it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from orderflow.messaging.http.server import Role
from orderflow.messaging.postgres import BY_KEY, Cursor, Session
from orderflow.messaging.process.role import Launch
from orderflow.messaging.settings import ProcessSettings
from orderflow.messaging.telemetry import MeasuredGauge, logger

STOP_WITHIN_S = 1.0

FAILING = MeasuredGauge(
    "measurement_failing",
    "1 while a measurement fails and its gauges are hidden, else 0.",
    ["what"],
)

log = logger("measuring")


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """
    One statement, and the gauges that it sets.

    `what` is measured: in the label `of`, and in log lines. `measure` reads with one statement in a
    transaction of its own and sets `gauges`; whatever it raises hides them.
    """

    what: str
    gauges: tuple[MeasuredGauge, ...]
    measure: Callable[[Cursor], None]


def measuring(
    role: Role, measurements: Sequence[Measurement], launch: Launch[ProcessSettings]
) -> Role:
    """
    `role`, with a thread that takes `measurements` of the service's database, every ten seconds
    (`ORDERFLOW_TELEMETRY__MEASURE_EVERY_S`) from its start to its end.

    It has a connection of its own: neither do measurements wait for the requests of an API, nor
    these for them.
    """
    if not measurements:
        return role

    every_s = launch.settings.telemetry.measure_every_s
    session = Session(launch.database, application_name=f"{role.name}-measuring", session=BY_KEY)
    rounds = Rounds(measurements, session)
    stop = threading.Event()

    def run() -> None:
        while True:
            rounds.measure()
            if stop.wait(every_s):
                session.close()
                return

    thread = threading.Thread(target=run, name=f"{role.name}-measuring", daemon=True)

    def start() -> None:
        role.start()
        thread.start()

    def close() -> None:
        stop.set()
        role.close()
        if thread.is_alive():
            thread.join(STOP_WITHIN_S)

    return msgspec.structs.replace(role, start=start, close=close)


class Rounds:
    """The rounds of one thread; `measure` never raises."""

    def __init__(self, measurements: Sequence[Measurement], session: Session) -> None:
        self._measurements = measurements
        self._session = session
        self._failing: set[str] = set()

    def measure(self) -> None:
        """Measure everything once. What fails keeps nothing else from being measured."""
        for measurement in self._measurements:
            try:
                with self._session.transaction() as cursor:
                    measurement.measure(cursor)
            except Exception as error:  # noqa: BLE001 - a thread that ends would freeze its gauges
                self._fail(measurement, error)
            else:
                self._failing.discard(measurement.what)
                FAILING.set(0, measurement.what)

    def _fail(self, measurement: Measurement, error: Exception) -> None:
        for gauge in measurement.gauges:
            gauge.hide()
        FAILING.set(1, measurement.what)

        # Once, when it begins; and without the driver's words, which name hosts and users.
        if measurement.what not in self._failing:
            log.warning(
                "a measurement fails, its gauges are hidden",
                what=measurement.what,
                error=type(error).__name__,
            )
        self._failing.add(measurement.what)
