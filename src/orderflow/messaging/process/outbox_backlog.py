"""An outbox's backlog and its relay's slot, as measurements of the service's API."""

from __future__ import annotations

from orderflow.messaging.postgres import Cursor
from orderflow.messaging.process.measuring import Measurement
from orderflow.messaging.relay import backlog
from orderflow.messaging.relay.held_rows import count_held
from orderflow.messaging.relay.settings import slot_of
from orderflow.messaging.telemetry import MeasuredGauge

ROWS = MeasuredGauge(
    "outbox_pending_rows", "Outbox rows that wait to be published, at most 100,000.", ["service"]
)
OLDEST_S = MeasuredGauge(
    "outbox_pending_oldest_seconds", "Age of the oldest row that waits; 0 without any.", ["service"]
)
LAG_BYTES = MeasuredGauge(
    "outbox_slot_lag_bytes", "Log that the server keeps for the relay's slot.", ["service"]
)
ACTIVE = MeasuredGauge(
    "outbox_slot_active", "1 while a relay reads the slot; 0 too if there is no slot.", ["service"]
)

HELD_ROWS = MeasuredGauge(
    "outbox_held_rows", "Outbox rows that a topic refused, and those of their key.", ["service"]
)
HELD_OLDEST_S = MeasuredGauge(
    "outbox_held_oldest_seconds", "For how long the oldest row is held; 0 without any.", ["service"]
)


def outbox_backlog(service: str) -> tuple[Measurement, ...]:
    """What waits in the outbox of `service`, whether its relay runs or not."""

    def pending(cursor: Cursor) -> None:
        waiting = backlog.pending(cursor, service)
        ROWS.set(waiting.rows, service)
        OLDEST_S.set(waiting.oldest_s, service)

    def slot(cursor: Cursor) -> None:
        state = backlog.slot(cursor, slot_of(service))
        ACTIVE.set(state.active, service)
        if state.lag_bytes is None:
            # Of a slot that is not there nobody can say how far it is behind.
            LAG_BYTES.hide(service)
        else:
            LAG_BYTES.set(state.lag_bytes, service)

    def held(cursor: Cursor) -> None:
        rows, oldest_s = count_held(cursor)
        HELD_ROWS.set(rows, service)
        HELD_OLDEST_S.set(oldest_s, service)

    return (
        Measurement(what="held rows", gauges=(HELD_ROWS, HELD_OLDEST_S), measure=held),
        Measurement(what="outbox", gauges=(ROWS, OLDEST_S), measure=pending),
        Measurement(what="replication slot", gauges=(LAG_BYTES, ACTIVE), measure=slot),
    )
