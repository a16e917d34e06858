"""
The outbox: rows that commit with the facts they tell of, and become records afterwards.

Guarantee: a row is on Kafka if and only if its database transaction committed, in commit order, once for a
read_committed reader; the `relay` sees to that by reading the write-ahead log. The table is only ever inserted into.
It has the columns of Debezium's outbox event router, so that CDC can take over without touching a service, and it is
partitioned by day, so that old rows go by dropping tables. Source: the transactional outbox pattern (Richardson,
Microservices Patterns, ch. 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from orderflow.messaging.event import EventId, Metadata, rfc3339_ms
from orderflow.messaging.postgres.connection import Cursor, array

ROWS_MAX = 2_000
"""The most rows one database transaction may add: a Kafka transaction holds whole database transactions."""

PAYLOAD_BYTES_MAX = 900_000
"""Below every limit on the way to the reader (a record with headers fits in 1 MiB)."""

TABLE = "outbox"
STATE_TABLE = "relay_state"
RETENTION_DAYS = 7


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One record to be: where it goes, the key that orders it, its bytes as they will be on the wire."""

    topic: str
    key: str
    payload: bytes
    metadata: Metadata


def ddl(topics: Iterable[str]) -> str:
    """
    The tables a service's migration contains, word for word: the outbox for `topics`, and the relay's state.

    No primary key and no index: a row is written once and read from the log. Topics and sizes that Kafka would refuse
    are refused here, where the transaction can still fail. `sequence` is for a resync, which reads the table: whoever
    appends holds the lock of the row it tells of, so the order of one key's rows is that of their commits. `tick` tells
    this database from an older copy of itself.
    """
    known = ", ".join(f"'{topic}'" for topic in sorted(topics))
    return f"""\
CREATE SEQUENCE {TABLE}_sequence;

CREATE TABLE {TABLE} (
    id               uuid        NOT NULL,
    aggregatetype    text        NOT NULL CONSTRAINT outbox_topic_is_known CHECK (aggregatetype IN ({known})),
    aggregateid      text        NOT NULL,
    type             text        NOT NULL,
    payload          bytea       NOT NULL
                     CONSTRAINT outbox_payload_fits CHECK (octet_length(payload) <= {PAYLOAD_BYTES_MAX}),
    ce_source        text        NOT NULL,
    ce_time          text        NOT NULL,
    ce_subject       text        NOT NULL,
    ce_causationid   text,
    ce_correlationid text        NOT NULL,
    traceparent      text,
    tracestate       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    sequence         bigint      NOT NULL DEFAULT nextval('{TABLE}_sequence')
) PARTITION BY RANGE (created_at);

CREATE TABLE {TABLE}_default PARTITION OF {TABLE} DEFAULT;

CREATE TABLE {STATE_TABLE} (
    service           text        PRIMARY KEY,
    system_identifier text        NOT NULL,
    slot              text        NOT NULL,
    first_position    pg_lsn      NOT NULL,
    first_position_at timestamptz NOT NULL DEFAULT now(),
    tick              bigint      NOT NULL DEFAULT 0
);
"""


UPGRADE = f"""\
CREATE SEQUENCE {TABLE}_sequence;
ALTER TABLE {TABLE} ADD COLUMN sequence bigint NOT NULL DEFAULT nextval('{TABLE}_sequence');
ALTER TABLE {STATE_TABLE} ADD COLUMN tick bigint NOT NULL DEFAULT 0;
"""
"""For a service whose first migration is older than these columns: the migration that adds them, word for word."""


def append(cursor: Cursor, rows: Sequence[OutboxRow]) -> None:
    """
    Add `rows` to the caller's transaction, in their order, with one statement.

    Call it once per transaction. Raises ValueError on more than 2,000 rows; CheckViolation on an unknown topic or a
    payload over 900,000 bytes. Nothing is published unless, and before, the caller commits.
    """
    if len(rows) > ROWS_MAX:
        raise ValueError(
            f"{len(rows)} outbox rows in one transaction, at most {ROWS_MAX}: commit in smaller groups"
        )
    if not rows:
        return
    told = [row.metadata for row in rows]
    columns = (
        [metadata.id for metadata in told],
        [row.topic for row in rows],
        [row.key for row in rows],
        [metadata.type for metadata in told],
        [row.payload for row in rows],
        [metadata.source for metadata in told],
        [rfc3339_ms(metadata.time) for metadata in told],
        [metadata.subject for metadata in told],
        [metadata.causation_id for metadata in told],
        [metadata.correlation_id for metadata in told],
        [metadata.traceparent for metadata in told],
        [metadata.tracestate for metadata in told],
    )
    cursor.execute(_INSERT, [array(column) for column in columns])


def find_last(
    cursor: Cursor, *, key: str, event_type: str, since: datetime, until: datetime
) -> OutboxRow | None:
    """
    The last row of this key and type that was added between these moments, None if none is retained.

    Appended again it becomes the same record: the same id, the same bytes. There is no index: whole days are read, for
    an operator who can wait, within the statement's time-out.
    """
    cursor.execute(_FIND_LAST, (key, event_type, since, until))
    row = cursor.fetchone()
    if row is None:
        return None
    (
        event_id,
        topic,
        payload,
        source,
        time,
        subject,
        causation_id,
        correlation_id,
        traceparent,
        tracestate,
    ) = row
    metadata = Metadata(
        id=EventId(event_id),
        type=event_type,
        source=source,
        time=datetime.fromisoformat(time),
        subject=subject,
        correlation_id=correlation_id,
        causation_id=causation_id,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    return OutboxRow(topic=topic, key=key, payload=bytes(payload), metadata=metadata)


def first_position_committed(cursor: Cursor, service: str) -> bool:
    """
    Has the relay of `service` committed its first position for this very database?

    Until then a row written here might not be seen by the relay: an API is not ready before. A copy of another
    server's database does not count.
    """
    cursor.execute(_FIRST_POSITION, (service,))
    row = cursor.fetchone()
    return bool(row and row[0])


_INSERT = f"""
INSERT INTO {TABLE} (id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject, ce_causationid,
                     ce_correlationid, traceparent, tracestate)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[],
                     %s::text[], %s::text[], %s::text[], %s::text[])
"""  # noqa: S608 - the table's name is a constant
_FIND_LAST = f"""
SELECT id, aggregatetype, payload, ce_source, ce_time, ce_subject, ce_causationid, ce_correlationid, traceparent,
       tracestate
FROM {TABLE} WHERE aggregateid = %s AND type = %s AND created_at BETWEEN %s AND %s ORDER BY sequence DESC LIMIT 1
"""  # noqa: S608 - the table's name is a constant
_FIRST_POSITION = f"""
SELECT EXISTS (SELECT FROM {STATE_TABLE} AS ours, pg_control_system() AS server
               WHERE ours.service = %s AND ours.system_identifier = server.system_identifier::text)
"""  # noqa: S608 - the table's name is a constant
