"""The relay's view of `pg_catalog`, over an ordinary connection: database, log, slot and publication."""

from __future__ import annotations

import time
from typing import Any

from orderflow.messaging.postgres import Connection, DatabaseError
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay.start_decision import ReplicationSlot

DROP_WAIT_S = 5.0


def database_oid(connection: Connection) -> int:
    """Tells a database from its namesake made later on the same server."""
    return int(
        _one(connection, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    )


def wal_end(connection: Connection) -> int:
    """The end of the server's log on disk."""
    return int(_one(connection, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))


def outbox_empty(connection: Connection) -> bool:
    return not _one(connection, f"SELECT EXISTS (SELECT FROM {TABLE})")  # noqa: S608 - a constant name


def find_slot(connection: Connection, name: str) -> ReplicationSlot | None:
    """The slot as it is now. `lost`: the server removed log files that it needed (`max_slot_wal_keep_size`)."""
    row = connection.execute(
        "SELECT COALESCE((confirmed_flush_lsn - '0/0')::bigint, 0), COALESCE(wal_status, '') = 'lost'"
        " FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()",
        (name,),
    ).fetchone()
    return ReplicationSlot(confirmed_flush=row[0], lost=row[1]) if row else None


def slot_reader(connection: Connection, name: str) -> int | None:
    """The backend that reads the slot."""
    row = connection.execute(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", (name,)
    ).fetchone()
    return row[0] if row else None


def drop_slot(connection: Connection, name: str) -> None:
    """Drop it as soon as its last reader's backend has let go, within 5 s; a slot that is gone is fine."""
    deadline = time.monotonic() + DROP_WAIT_S
    while slot_reader(connection, name) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active",
        (name,),
    )


def make_publication(connection: Connection, name: str) -> None:
    """
    Inserts only, told as rows of the partitioned table. One that fits stays, so that of several relays starting at once
    none takes away what another's slot already reads by; one that does not fit is replaced: no slot reads by it yet.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (name,))
        if publication_fits(connection, name):
            return
        connection.execute(f"DROP PUBLICATION IF EXISTS {name}")
        connection.execute(
            f"CREATE PUBLICATION {name} FOR TABLE {TABLE} WITH (publish = 'insert', publish_via_partition_root = true)"
        )


def publication_fits(connection: Connection, name: str) -> bool:
    """Is it there, for the outbox, with inserts, by the partitioned table, and without a row filter?"""
    return bool(
        _one(
            connection,
            "SELECT EXISTS (SELECT FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid"
            " WHERE p.pubname = %s AND p.pubinsert AND p.pubviaroot AND r.prrelid = %s::regclass AND r.prqual IS NULL)",
            name,
            TABLE,
        )
    )


def _one(connection: Connection, query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters or None).fetchone()
    if row is None:
        raise DatabaseError(f"no row from: {query}")
    return row[0]
