"""What the order API measures: the outbox, and the orders that are stuck."""

from __future__ import annotations

from orderflow.messaging.event import read_clock
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.process.measuring import Measurement
from orderflow.messaging.process.outbox_backlog import outbox_backlog
from orderflow.messaging.telemetry import MeasuredGauge
from orderflow.services.order import queries
from orderflow.services.order.deadlines import Limits, cutoffs

STUCK = MeasuredGauge(
    "orders_stuck",
    "Orders past the deadline of what they wait for, at most 10,000.",
    ["waits_for"],
)
STUCK_S = MeasuredGauge(
    "orders_stuck_oldest_seconds",
    "How long the oldest of the stuck orders has waited; 0 without one.",
    ["waits_for"],
)


def measurements(limits: Limits) -> tuple[Measurement, ...]:
    """The outbox, and what `orderflow stuck` lists, by what the orders wait for."""

    def measure(cursor: Cursor) -> None:
        now = read_clock()
        counts = queries.overdue_counts(cursor, cutoffs(limits, now=now))

        for awaited, count in counts.items():
            age_s = (now - count.since).total_seconds() if count.since else 0.0
            STUCK.set(count.orders, awaited.value)
            STUCK_S.set(age_s, awaited.value)

    return (
        *outbox_backlog("order"),
        Measurement(what="stuck orders", gauges=(STUCK, STUCK_S), measure=measure),
    )
