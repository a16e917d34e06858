"""
The inbox: which events a listener has had, in the database of what they did.

Guarantee: an event id's effect is in the database if and only if its inbox row is, because both commit together; a
repeat finds the row and has no effect, also when several workers get the same event at once (the second waits for the
first one's commit, then finds it). Rows are kept for 35 days, longer than any record can come again. Source: idempotent
receiver (Hohpe and Woolf, Enterprise Integration Patterns).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from orderflow.messaging.event import EventId
from orderflow.messaging.postgres.connection import Cursor, array

TABLE = "inbox"
RETENTION = timedelta(days=35)
PURGE_ROWS_MAX = 10_000

DDL = """\
CREATE TABLE inbox (
    listener    text        NOT NULL,
    event_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (listener, event_id)
);
CREATE INDEX inbox_received_at ON inbox USING brin (received_at);
"""
"""What a service's migration contains, word for word."""


def claim(cursor: Cursor, listener: str, event_ids: Sequence[EventId]) -> set[EventId]:
    """
    Enter `event_ids` in the caller's transaction; those that were not there yet are returned.

    One statement, in the order of the ids, so that two workers with the same events wait for each other in one
    direction only.
    """
    cursor.execute(_CLAIM, (listener, array([str(event_id) for event_id in sorted(event_ids)])))
    return {event_id for (event_id,) in cursor}


def purge(cursor: Cursor) -> int:
    """Delete a bounded number of rows that are older than the retention; how many."""
    cursor.execute(_PURGE, (RETENTION, PURGE_ROWS_MAX))
    return cursor.rowcount


_CLAIM = """
INSERT INTO inbox (listener, event_id) SELECT %s, unnest(%s::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id
"""
_PURGE = """
DELETE FROM inbox WHERE (listener, event_id) IN
    (SELECT listener, event_id FROM inbox WHERE received_at < now() - %s LIMIT %s)
"""
