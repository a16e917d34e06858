"""
The relay's row in the database: its first position, and the counter that tells a restored backup from the original.

"Tick" is the counter's name in the table and in the settings.
"""

from __future__ import annotations

from orderflow.messaging.errors import ResyncNeeded
from orderflow.messaging.postgres import Connection
from orderflow.messaging.postgres.outbox import STATE_TABLE
from orderflow.messaging.relay.position import Database, lsn_text
from orderflow.messaging.relay.start_decision import WAY_OUT


def note_first_position(
    connection: Connection, *, service: str, database: Database, lsn: int
) -> None:
    """Say in the database that the relay's first position for it is on Kafka: the API waits for that."""
    connection.execute(
        f"INSERT INTO {STATE_TABLE} AS known (service, system_identifier, slot, first_position) VALUES (%s, %s, %s, %s)"  # noqa: S608
        " ON CONFLICT (service) DO UPDATE SET system_identifier = excluded.system_identifier, slot = excluded.slot,"
        " first_position = excluded.first_position, first_position_at = now()"
        " WHERE known.system_identifier <> excluded.system_identifier",
        (service, database.system_identifier, database.slot, lsn_text(lsn)),
    )


def read_tick(connection: Connection, service: str) -> int:
    """How far this database has counted for the relay of `service`; 0 before its first position."""
    query = f"SELECT COALESCE(max(tick), 0) FROM {STATE_TABLE} WHERE service = %s"  # noqa: S608
    row = connection.execute(query, (service,)).fetchone()
    assert row is not None
    return int(row[0])


def increment_tick(connection: Connection, service: str, *, above: int = 0) -> int:
    """
    Count on, beyond `above` too, and return the new count once it is on this server's disk.

    Raises ResyncNeeded when the relay's row is gone: a copy of this database could no longer be told from it.
    """
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = on")
        row = connection.execute(
            f"UPDATE {STATE_TABLE} SET tick = greatest(tick, %s) + 1 WHERE service = %s RETURNING tick",  # noqa: S608
            (above, service),
        ).fetchone()
    if row is None:
        raise ResyncNeeded(
            f"{STATE_TABLE} has no row of the relay of {service} any more; {WAY_OUT}"
        )
    return int(row[0])
