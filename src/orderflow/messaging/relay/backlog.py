"""
What an outbox has not published yet, asked of its database: by whoever is alive, not by the relay.

Rows are pending when their `sequence` is above the highest that the relay has noted as published.
The relay notes it once a second, and as soon as it stands again after a kill: until then, published
rows of one second count too. And numbers are drawn before a commit: a row of a transaction that was
still open when a later number was published is not counted. The slot's lag counts its bytes.
"""

from __future__ import annotations

import msgspec

from orderflow.messaging.postgres import Cursor
from orderflow.messaging.postgres.outbox import STATE_TABLE, TABLE

ROWS_MAX = 100_000
"""Whoever has more pending rows than that need not know how many more."""


class Pending(msgspec.Struct, frozen=True):
    """Committed, not published: how many rows, at most `ROWS_MAX`; the oldest's age in seconds."""

    rows: int
    oldest_s: float


class Slot(msgspec.Struct, frozen=True):
    """
    The relay's replication slot. `lag_bytes`: the log that the server keeps for it, None without a
    slot.
    """

    active: bool
    lag_bytes: int | None


def pending(cursor: Cursor, service: str) -> Pending:
    """Read by the index of ranges, so what is published is not read again."""
    cursor.execute(_PENDING, (service, ROWS_MAX))
    row = cursor.fetchone()
    assert row is not None
    return Pending(rows=row[0], oldest_s=float(row[1]))


def slot(cursor: Cursor, name: str) -> Slot:
    """How far the reader of the slot `name` is behind the end of the server's log."""
    cursor.execute(_SLOT, (name,))
    row = cursor.fetchone()
    return Slot(active=False, lag_bytes=None) if row is None else Slot(*row)


# In the table's own order, which is almost that of the sequence: the first rows are the oldest.
_PENDING = f"""
SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
FROM (SELECT created_at FROM {TABLE}
      WHERE sequence > COALESCE(
          (SELECT published_sequence FROM {STATE_TABLE} WHERE service = %s), 0)
      LIMIT %s) AS pending
"""  # noqa: S608 - the tables' names are constants
_SLOT = """
SELECT active, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), confirmed_flush_lsn)::bigint
FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()
"""
