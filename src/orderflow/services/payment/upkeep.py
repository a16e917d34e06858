"""What the payment API does beside answering: it forgets old webhooks."""

from __future__ import annotations

import threading

import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import read_clock
from orderflow.messaging.http.server import Role
from orderflow.messaging.postgres import DatabaseError, Session
from orderflow.messaging.telemetry import logger
from orderflow.services.payment import repository
from orderflow.services.payment.webhooks import KNOWN_FOR

PURGE_EVERY_S = 10.0
PURGE_ROWS_MAX = 1_000
STOP_WITHIN_S = 1.0

log = logger("payment.upkeep")


def with_upkeep(role: Role, session: Session) -> Role:
    """The role, with a thread that purges every ten seconds, from its start to its end."""
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


def purge(session: Session) -> int:
    """Forget webhooks that no sender repeats any more, at most a batch; how many it were."""
    before = read_clock() - KNOWN_FOR
    with session.transaction() as cursor:
        return repository.purge_webhooks(cursor, before=before, at_most=PURGE_ROWS_MAX)


def _until(stop: threading.Event, session: Session) -> None:
    while True:
        try:
            # However many come: what is purged in a day is what came in a day.
            while purge(session) == PURGE_ROWS_MAX and not stop.is_set():
                pass
        except (Transient, DatabaseError) as error:
            log.warning("old webhooks stay for now", reason=error_text(error))
        if stop.wait(PURGE_EVERY_S):
            session.close()
            return
