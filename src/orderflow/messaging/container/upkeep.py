"""Keeping the inbox of a listener with `InboxOutbox` from growing."""

from __future__ import annotations

import threading

from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import DatabaseError, Session, inbox
from orderflow.messaging.telemetry import logger

PURGE_EVERY_S = 600.0

log = logger("listener")


def purge_inbox(session: Session, stop: threading.Event) -> None:
    """
    Delete old inbox rows every ten minutes until `stop` is set; then close `session`.

    Rows go in transactions of at most `PURGE_ROWS_MAX`. While the database is away they stay, and
    a warning is logged.
    """
    while not stop.wait(PURGE_EVERY_S):
        try:
            purged = inbox.PURGE_ROWS_MAX
            while purged == inbox.PURGE_ROWS_MAX and not stop.is_set():
                with session.transaction() as cursor:
                    purged = inbox.purge(cursor)
        except (Transient, DatabaseError) as error:
            log.warning("old inbox rows stay for now", reason=str(error))
    session.close()
