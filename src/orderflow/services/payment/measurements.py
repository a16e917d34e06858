"""What the payment API measures: what waits for the provider."""

from __future__ import annotations

from orderflow.messaging.event import read_clock
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.process.measuring import Measurement
from orderflow.messaging.telemetry import MeasuredGauge
from orderflow.services.payment import repository

OWED = MeasuredGauge("payment_refunds_owed", "Refunds that the provider has not given back yet.")
OWED_S = MeasuredGauge(
    "payment_refunds_owed_oldest_seconds", "Age of the oldest refund that is owed; 0 without one."
)
UNKNOWN = MeasuredGauge("payment_unknown", "Payments whose outcome the provider has not told.")
UNKNOWN_S = MeasuredGauge(
    "payment_unknown_oldest_seconds", "Age of the oldest unknown outcome; 0 without one."
)


def _measure(cursor: Cursor) -> None:
    waiting = repository.open_at_provider(cursor)

    now = read_clock()
    OWED.set(waiting.owed)
    UNKNOWN.set(waiting.unknown)
    for age, since in ((OWED_S, waiting.owed_since), (UNKNOWN_S, waiting.unknown_since)):
        age.set(0.0 if since is None else (now - since).total_seconds())


MEASUREMENTS = (
    Measurement(
        what="open at the provider", gauges=(OWED, OWED_S, UNKNOWN, UNKNOWN_S), measure=_measure
    ),
)
