"""What the notification API measures: the outbox, and the mails that wait for the sender."""

from __future__ import annotations

from orderflow.messaging.postgres import Cursor
from orderflow.messaging.process.measuring import Measurement
from orderflow.messaging.process.outbox_backlog import outbox_backlog
from orderflow.messaging.telemetry import MeasuredGauge
from orderflow.services.notification import repository

PENDING = MeasuredGauge("mail_pending", "Mails that wait to be sent, at most 100,000.")
PENDING_S = MeasuredGauge(
    "mail_pending_oldest_seconds", "Age of the oldest mail that waits to be sent; 0 without one."
)


def _measure(cursor: Cursor) -> None:
    mails, oldest_s = repository.count_pending(cursor)
    PENDING.set(mails)
    PENDING_S.set(oldest_s)


MEASUREMENTS = (
    *outbox_backlog("notification"),
    Measurement(what="mail", gauges=(PENDING, PENDING_S), measure=_measure),
)
