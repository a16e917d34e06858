"""The rows that an outbox still has, published or not, as a resync reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.postgres import Connection, connect
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay.pgoutput import Relation
from orderflow.messaging.relay.records import Highest, ProducerRecord, record_reader
from orderflow.messaging.relay.settings import RelaySettings

FETCH_ROWS = 100
STATEMENT_TIMEOUT_S = 600
ANSWER_WITHIN_S = STATEMENT_TIMEOUT_S + 5.0


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that the outbox still has: how many, and when the oldest was written."""

    rows: int
    since: datetime | None


def retained(settings: RelaySettings) -> Retained:
    """What a resync would publish. Raises ConfigurationError when the database has no outbox."""
    with connect_for_long_reads(settings) as connection:
        row = connection.execute(_COUNT).fetchone()
    assert row is not None
    return Retained(rows=row[0], since=row[1])


def connect_for_long_reads(settings: RelaySettings) -> Connection:
    """
    A connection whose statements may take minutes.

    Raises ConfigurationError when the database has no outbox, or an old one without `sequence`.
    """
    connection = connect(
        settings.database, application_name=f"{settings.group}.resync", autocommit=True
    )
    connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'".encode())
    connection.answer_within_s = ANSWER_WITHIN_S
    connection.execute("SET idle_in_transaction_session_timeout = 0")

    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)", (TABLE,)
    ).fetchall()
    if ("sequence",) not in columns:
        connection.close()
        what = (
            "an outbox without the column `sequence`: migrate it first"
            if columns
            else "no outbox: nothing to resync"
        )
        raise ConfigurationError(f"the database of {settings.service} has {what}")
    return connection


def read_batches(
    connection: Connection, snapshot: str, settings: RelaySettings, highest: Highest
) -> Iterator[list[ProducerRecord]]:
    """
    The rows that `snapshot` sees, in their order, in batches for one Kafka transaction each; what
    was read is noted in `highest`.

    The connection stays inside its transaction until the caller closes it.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())

    # By `sequence`, not by time: for the rows of one key it has the order of their commits.
    query = f"SELECT * FROM {TABLE} ORDER BY sequence"  # noqa: S608
    connection.execute(f"DECLARE retained NO SCROLL CURSOR FOR {query}")

    batch: list[ProducerRecord] = []
    size = 0
    while fetched := _fetch(connection, highest):
        for record in fetched:
            batch.append(record)
            size += len(record.value)
            if len(batch) >= settings.rows_max or size >= settings.bytes_max:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _fetch(connection: Connection, highest: Highest) -> list[ProducerRecord]:
    """The cursor's next rows, converted from the same binary form as a replication stream's."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(f"FETCH {FETCH_ROWS} FROM retained".encode())
        columns = tuple(column.name for column in cursor.description or ())
        result = cursor.pgresult
        assert result is not None

        read = record_reader(Relation(0, TABLE, columns), highest)
        return [
            read([result.get_value(row, column) for column in range(result.nfields)])
            for row in range(result.ntuples)
        ]


_COUNT = f"SELECT count(*), min(created_at) FROM {TABLE}"  # noqa: S608 - the name is a constant
