"""
The relay's row in its database: the first position, the counter that reveals a restored backup, and
how far the outbox is published, as a note for whoever counts what waits.

Table and settings call one increment of that counter a tick. Kafka remembers the last count with
the position, so a database with a lower count is an older copy of itself and is refused.
"""

from __future__ import annotations

from orderflow.messaging.errors import ResyncNeeded
from orderflow.messaging.postgres import Connection
from orderflow.messaging.postgres.outbox import STATE_TABLE
from orderflow.messaging.relay.position import Database, lsn_text


def note_first_position(
    connection: Connection, *, service: str, database: Database, lsn: int
) -> None:
    """
    Record that the first position of this database is on Kafka; the API is not ready before.

    Later calls change nothing, unless the row is a copy from another server's database.
    """
    connection.execute(
        _NOTE_FIRST_POSITION,
        (service, database.system_identifier, database.slot, lsn_text(lsn)),
    )


def read_tick(connection: Connection, service: str) -> int:
    """The database's count for the relay of `service`; 0 before its first position."""
    row = connection.execute(_READ_TICK, (service,)).fetchone()
    assert row is not None
    return int(row[0])


def note_published(connection: Connection, service: str, sequence: int) -> None:
    """
    Note that rows up to `sequence` are published, for whoever counts those that wait.

    Nobody is waited for: neither the disk, nor who holds the row; then it is noted the next time.
    """
    connection.execute(_NOTE_PUBLISHED, (sequence, service))


def increment_tick(connection: Connection, service: str, *, above: int = 0) -> int:
    """
    Increment the count to more than `above`, and return it once it is on this server's disk.

    Raises ResyncNeeded when the relay's row is gone: an older copy could not be recognised then.
    """
    with connection.transaction():
        # On disk before Kafka has it: a crash of the server must not look like an older copy.
        connection.execute("SET LOCAL synchronous_commit = on")
        row = connection.execute(_INCREMENT_TICK, (above, service)).fetchone()

    if row is None:
        raise ResyncNeeded(f"{STATE_TABLE} has no row of the relay of {service} any more")
    return int(row[0])


_NOTE_FIRST_POSITION = f"""
INSERT INTO {STATE_TABLE} AS known (service, system_identifier, slot, first_position)
VALUES (%s, %s, %s, %s)
ON CONFLICT (service) DO UPDATE
    SET system_identifier = excluded.system_identifier, slot = excluded.slot,
        first_position = excluded.first_position, first_position_at = now()
    WHERE known.system_identifier <> excluded.system_identifier
"""  # noqa: S608 - the table's name is a constant
_READ_TICK = f"SELECT COALESCE(max(tick), 0) FROM {STATE_TABLE} WHERE service = %s"  # noqa: S608
_NOTE_PUBLISHED = f"""
UPDATE {STATE_TABLE} SET published_sequence = greatest(published_sequence, %s)
WHERE service = (SELECT service FROM {STATE_TABLE} WHERE service = %s FOR UPDATE SKIP LOCKED)
  AND set_config('synchronous_commit', 'off', true) = 'off'
"""  # noqa: S608 - the table's name is a constant
_INCREMENT_TICK = f"""
UPDATE {STATE_TABLE} SET tick = greatest(tick, %s) + 1 WHERE service = %s RETURNING tick
"""  # noqa: S608 - the table's name is a constant
