"""
What the payment API does beside answering: it measures what waits for the provider, and forgets old
webhooks.
"""

from __future__ import annotations

import threading

import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import read_clock
from orderflow.messaging.http.server import Role
from orderflow.messaging.postgres import DatabaseError, Session
from orderflow.messaging.telemetry import gauge, logger
from orderflow.services.payment import repository
from orderflow.services.payment.webhooks import KNOWN_FOR

MEASURE_EVERY_S = 10.0
PURGE_ROWS_MAX = 1_000
STOP_WITHIN_S = 1.0

OWED = gauge("payment_refunds_owed", "Refunds that the provider has not given back yet.")
OWED_S = gauge("payment_refunds_owed_oldest_seconds", "Age of the oldest refund that is owed.")
UNKNOWN = gauge("payment_unknown", "Payments whose outcome the provider has not told.")
UNKNOWN_S = gauge("payment_unknown_oldest_seconds", "Age of the oldest unknown outcome.")

log = logger("payment.upkeep")


def with_upkeep(role: Role, session: Session) -> Role:
    """The role, with a thread that measures every ten seconds, from its start to its end."""
    stop = threading.Event()
    thread = threading.Thread(
        target=_until, args=(stop, session), name="payment-upkeep", daemon=True
    )

    def start() -> None:
        role.start()
        thread.start()

    def close() -> None:
        stop.set()
        role.close()
        if thread.is_alive():
            thread.join(STOP_WITHIN_S)

    return msgspec.structs.replace(role, start=start, close=close)


def measure(session: Session) -> None:
    """Set the gauges. Ages are in seconds; 0 if there is nothing."""
    with session.transaction() as cursor:
        waiting = repository.open_at_provider(cursor)

    now = read_clock()
    OWED.set(waiting.owed)
    UNKNOWN.set(waiting.unknown)
    for age, since in ((OWED_S, waiting.owed_since), (UNKNOWN_S, waiting.unknown_since)):
        age.set(0.0 if since is None else (now - since).total_seconds())


def purge(session: Session) -> int:
    """Forget webhooks that no sender repeats any more, at most a batch; how many it were."""
    before = read_clock() - KNOWN_FOR
    with session.transaction() as cursor:
        return repository.purge_webhooks(cursor, before=before, at_most=PURGE_ROWS_MAX)


def _until(stop: threading.Event, session: Session) -> None:
    while True:
        try:
            measure(session)
            # However many come: what is purged in a day is what came in a day.
            while purge(session) == PURGE_ROWS_MAX and not stop.is_set():
                pass
        except (Transient, DatabaseError) as error:
            log.warning(
                "what is owed was not measured, old webhooks stay", reason=error_text(error)
            )
        if stop.wait(MEASURE_EVERY_S):
            session.close()
            return
