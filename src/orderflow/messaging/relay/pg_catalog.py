"""The relay's reads and writes of `pg_catalog`: database, log, replication slot, publication."""

from __future__ import annotations

import time
from typing import Any

from orderflow.messaging.postgres import Connection, DatabaseError
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay.start_decision import ReplicationSlot

DROP_WAIT_S = 5.0


def database_oid(connection: Connection) -> int:
    """Distinguishes a database from one of the same name made later on the same server."""
    return int(
        _value(connection, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    )


def wal_end(connection: Connection) -> int:
    """The end of the server's log on disk, as an LSN."""
    return int(_value(connection, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))


def insert_end(connection: Connection) -> int:
    """The end of the server's log, on disk or not: what has committed is below it."""
    return int(_value(connection, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))


def drawn_sequence(connection: Connection) -> int:
    """The last sequence that a row of the outbox has drawn, committed or not."""
    return int(_value(connection, f"SELECT last_value FROM {TABLE}_sequence"))  # noqa: S608


def outbox_empty(connection: Connection) -> bool:
    """True when no row is retained, published or not."""
    return not _value(connection, f"SELECT EXISTS (SELECT FROM {TABLE})")  # noqa: S608


def find_slot(connection: Connection, name: str) -> ReplicationSlot | None:
    """The slot as it is now. `lost`: see `max_slot_wal_keep_size`."""
    row = connection.execute(_FIND_SLOT, (name,)).fetchone()
    return ReplicationSlot(confirmed_flush=row[0], lost=row[1]) if row else None


def slot_reader(connection: Connection, name: str) -> int | None:
    """The process id of the backend that reads the slot, None if there is none."""
    row = connection.execute(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", (name,)
    ).fetchone()
    return row[0] if row else None


def drop_slot(connection: Connection, name: str) -> None:
    """
    Drop the slot once no backend reads it, within 5 s.

    Does nothing if the slot is gone, or if a reader keeps it for longer.
    """
    deadline = time.monotonic() + DROP_WAIT_S
    while slot_reader(connection, name) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    connection.execute(_DROP_SLOT, (name,))


def make_publication(connection: Connection, name: str) -> None:
    """
    Publish the outbox's inserts, as rows of the partitioned table, unless that is so already.

    A publication that fits is kept: of several relays that start at once, none may drop what
    another's slot reads by. One that does not fit is replaced: no slot reads by it yet.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (name,))
        if publication_fits(connection, name):
            return

        connection.execute(f"DROP PUBLICATION IF EXISTS {name}")
        connection.execute(
            f"CREATE PUBLICATION {name} FOR TABLE {TABLE} "
            "WITH (publish = 'insert', publish_via_partition_root = true)"
        )


def publication_fits(connection: Connection, name: str) -> bool:
    """True if it publishes the outbox's inserts, by the partitioned table, without a row filter."""
    return bool(_value(connection, _PUBLICATION_FITS, name, TABLE))


def _value(connection: Connection, query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters or None).fetchone()
    if row is None:
        raise DatabaseError(f"no row from: {query}")
    return row[0]


_FIND_SLOT = """
SELECT COALESCE((confirmed_flush_lsn - '0/0')::bigint, 0), COALESCE(wal_status, '') = 'lost'
FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()
"""
_DROP_SLOT = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = %s AND NOT active
"""
_PUBLICATION_FITS = """
SELECT EXISTS (
    SELECT FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
    WHERE p.pubname = %s AND p.pubinsert AND p.pubviaroot
      AND r.prrelid = %s::regclass AND r.prqual IS NULL
)
"""
