"""
The inbox: the ids of the events whose effects are in this database, by listener.

Guarantee: an event's effect is in the database if and only if its inbox row is, because both commit
together. A repeated event finds the row and has no effect. When several workers get it at once, the
second waits for the first one's commit, then finds the row. Rows are kept for 35 days, and for as
long as the cluster keeps the records. Source: idempotent receiver (Hohpe and Woolf, Enterprise
Integration Patterns).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.postgres.arrays import array
from orderflow.messaging.postgres.connection import Cursor, DatabaseError, Session
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.turning import Turning

TABLE = "inbox"
RETENTION = timedelta(days=35)
PURGE_ROWS_MAX = 10_000
PURGE_EVERY_S = 600.0

log = logger("listener")

DDL = """\
CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox (received_at);
"""
"""What a service's migrations make of the inbox, word for word."""

UPGRADE = """\
DROP INDEX inbox_received_at;
CREATE INDEX inbox_received_at ON inbox (received_at);
"""
"""
The migration of an older inbox's index, word for word. It was a block range index (BRIN): once new
rows lie in the pages of purged ones, each range begins with an old row, and a purge reads it all.
"""


def claim(cursor: Cursor, listener: str, event_ids: Sequence[str]) -> set[str]:
    """
    Insert `event_ids`, UUIDs in their canonical form, in the caller's transaction; return those
    that were not there yet.

    Waits for another worker's open transaction that inserted one of them.
    """
    # By id: two workers with the same events can't wait for each other in a circle.
    cursor.execute(_CLAIM, (listener, array(sorted(event_ids))))
    return {event_id for (event_id,) in cursor}


def purge(cursor: Cursor, *, kept_for: timedelta = RETENTION) -> int:
    """
    Delete rows older than `kept_for`, the oldest first, at most 10,000; returns how many.

    Reads no row that is to stay, however large the inbox is.
    """
    cursor.execute(_PURGE, (kept_for, PURGE_ROWS_MAX))
    return cursor.rowcount


def purge_until(
    stop: threading.Event,
    session: Session,
    turning: Turning,
    record_life: Callable[[], timedelta | None],
) -> None:
    """
    Delete old inbox rows every ten minutes until `stop` is set; then close `session`. `turning`
    knows when a round does not end.

    A row is kept for 35 days, and for as long as a record can come again: each round asks
    `record_life` for that; None means for ever. Rows go in transactions of at most
    `PURGE_ROWS_MAX`. While database or cluster are away they stay, and a warning is logged.
    """
    while not stop.wait(PURGE_EVERY_S):
        try:
            turning.mark("ask how long records live")
            life = record_life()
            if life is None:
                log.warning("old inbox rows stay for now", reason="a topic keeps records for ever")
            else:
                _purge_all(stop, session, turning, kept_for=max(RETENTION, life))
        except (OrderflowError, DatabaseError) as error:
            log.warning("old inbox rows stay for now", reason=error_text(error))
        turning.rest()
    session.close()


def _purge_all(
    stop: threading.Event, session: Session, turning: Turning, *, kept_for: timedelta
) -> None:
    purged = PURGE_ROWS_MAX
    while purged == PURGE_ROWS_MAX and not stop.is_set():
        turning.mark("delete")
        with session.transaction() as cursor:
            purged = purge(cursor, kept_for=kept_for)


_CLAIM = """
INSERT INTO inbox (listener, event_id) SELECT %s, unnest(%s::uuid[])
ON CONFLICT DO NOTHING RETURNING event_id::text
"""
_PURGE = """
DELETE FROM inbox WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM inbox WHERE received_at < now() - %s ORDER BY received_at LIMIT %s))
"""
