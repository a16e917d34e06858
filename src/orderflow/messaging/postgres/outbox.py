"""
The outbox: rows that commit with the changes that they announce, and become records afterwards.

Guarantee: a row is on Kafka if and only if its database transaction committed, in commit order, and
once for a read_committed reader. The `relay` does that from the write-ahead log; the table is only
ever inserted into. It has the columns of Debezium's outbox event router, so CDC can replace the
relay without changing a service. It is partitioned by day, so old rows are deleted by dropping
tables. Source: the transactional outbox pattern (Richardson, Microservices Patterns, ch. 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from orderflow.messaging.event import (
    ATTRIBUTE_BYTES_MAX,
    TRACEPARENT_BYTES_MAX,
    TRACESTATE_BYTES_MAX,
    EventId,
    Headers,
    Metadata,
    rfc3339_ms,
    to_headers,
)
from orderflow.messaging.postgres.arrays import columns
from orderflow.messaging.postgres.connection import Cursor

ROWS_MAX = 2_000
"""Rows per database transaction: a Kafka transaction holds whole database transactions."""

PAYLOAD_BYTES_MAX = 900_000
"""Below every limit on the way to the reader (a record with key and headers fits in 1 MiB)."""

KEY_BYTES_MAX = 512
"""As much as an attribute of the event: a key is the id of what the event is about."""

TABLE = "outbox"
STATE_TABLE = "relay_state"
HELD_TABLE = "relay_held"
DECISIONS_TABLE = "relay_held_decision"
RETENTION_DAYS = 7


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record to publish: its topic, the key that orders it, its bytes as they are on the wire."""

    topic: str
    key: str
    payload: bytes
    metadata: Metadata


class RowTexts(NamedTuple):
    """An outbox row by its columns, in the order in which `append_texts` inserts them."""

    id: str
    topic: str
    key: str
    type: str
    payload: bytes
    source: str
    time: str
    subject: str
    causation_id: str | None
    correlation_id: str
    traceparent: str | None
    tracestate: str | None

    @property
    def headers(self) -> Headers:
        """The headers of its record."""
        metadata = Metadata(
            id=EventId(UUID(self.id)),
            type=self.type,
            source=self.source,
            time=datetime.fromisoformat(self.time),
            subject=self.subject,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
        )
        return to_headers(metadata)

    @classmethod
    def of(cls, row: OutboxRow) -> RowTexts:
        metadata = row.metadata

        return cls(
            str(metadata.id),
            row.topic,
            row.key,
            metadata.type,
            row.payload,
            metadata.source,
            rfc3339_ms(metadata.time),
            metadata.subject,
            metadata.causation_id,
            metadata.correlation_id,
            metadata.traceparent,
            metadata.tracestate,
        )


NO_ROWS = ["{}"] * len(RowTexts._fields)

_KEY_FITS = f"CONSTRAINT outbox_key_fits CHECK (octet_length(aggregateid) <= {KEY_BYTES_MAX})"
_ATTRIBUTES_FIT = f"""\
CONSTRAINT outbox_attributes_fit CHECK (
        greatest(octet_length(type), octet_length(ce_source), octet_length(ce_time),
                 octet_length(ce_subject), octet_length(ce_causationid),
                 octet_length(ce_correlationid)) <= {ATTRIBUTE_BYTES_MAX}
    )"""
_TRACE_FITS = f"""\
CONSTRAINT outbox_trace_fits CHECK (
        octet_length(traceparent) <= {TRACEPARENT_BYTES_MAX}
        AND octet_length(tracestate) <= {TRACESTATE_BYTES_MAX}
    )"""

_BY_SEQUENCE = f"""\
CREATE INDEX {TABLE}_sequence_range ON {TABLE} USING brin (sequence) WITH (autosummarize = on);"""

_BY_KEY = f"""\
CREATE INDEX {TABLE}_key ON {TABLE}
USING brin (aggregateid text_bloom_ops (n_distinct_per_range = 1000))
WITH (pages_per_range = 64, autosummarize = on);
CREATE INDEX {TABLE}_default_created_at ON {TABLE}_default (created_at);"""

HOLD = f"""\
-- Rows that a topic refuses for good, and those of their key behind them: whole copies, so the
-- outbox's days can be dropped. `why` is null for a row that only waits behind another.
CREATE TABLE {HELD_TABLE} (
    event_id   uuid        PRIMARY KEY,
    place      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    topic      text        NOT NULL,
    key        text        NOT NULL,
    payload    bytea       NOT NULL,
    headers    jsonb       NOT NULL,
    lsn        bigint      NOT NULL,
    since      timestamptz NOT NULL DEFAULT now(),
    why        text,
    refusals   integer     NOT NULL DEFAULT 0,
    sending    bigint,
    wanted     text        CHECK (wanted IN ('resend', 'discard')),
    wanted_by  text,
    because    text,
    wanted_at  timestamptz
);

-- What became of an operator's wish, kept for 35 days.
CREATE TABLE {DECISIONS_TABLE} (
    id         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    event_id   uuid        NOT NULL,
    topic      text        NOT NULL,
    key        text        NOT NULL,
    type       text        NOT NULL,
    held_since timestamptz NOT NULL,
    why        text        NOT NULL,
    refusals   integer     NOT NULL,
    wanted     text        NOT NULL,
    wanted_by  text        NOT NULL,
    because    text        NOT NULL,
    wanted_at  timestamptz NOT NULL,
    outcome    text        NOT NULL CHECK (outcome IN ('sent', 'discarded', 'refused again')),
    decided_at timestamptz NOT NULL DEFAULT now()
);
"""
"""The migration by which an older outbox's relay can hold rows, word for word."""


def ddl(topics: Iterable[str]) -> str:
    """
    The tables of a service's migration, word for word: the outbox for `topics`, the relay's state,
    the rows that it holds.

    There is no primary key, because a row is written once and read from the log; the indexes are of
    ranges of pages (BRIN), which cost an insert nothing. By one the rows behind the last published
    `sequence` are counted; by the other, a Bloom filter for each range, those of one key are found.
    Only the default partition, which is empty as a rule, has one by time: for its purge.
    A topic or size that Kafka would refuse, and an attribute that no reader would take, is refused
    here, while the transaction can still fail.
    `sequence` orders the rows for a resync, which reads the table: the transaction that appends a
    row holds the lock of what the row announces, so one key's rows have the order of their commits.
    `tick` is the counter that reveals a restored backup. `published_sequence` is the highest
    `sequence` that the relay has noted as published.
    """
    known = ", ".join(f"'{topic}'" for topic in sorted(topics))
    topic_is_known = f"CONSTRAINT outbox_topic_is_known CHECK (aggregatetype IN ({known}))"
    payload_fits = (
        f"CONSTRAINT outbox_payload_fits CHECK (octet_length(payload) <= {PAYLOAD_BYTES_MAX})"
    )
    return f"""\
CREATE SEQUENCE {TABLE}_sequence;

CREATE TABLE {TABLE} (
    id               uuid        NOT NULL,
    aggregatetype    text        NOT NULL {topic_is_known},
    aggregateid      text        NOT NULL,
    type             text        NOT NULL,
    payload          bytea       NOT NULL
                     {payload_fits},
    ce_source        text        NOT NULL,
    ce_time          text        NOT NULL,
    ce_subject       text        NOT NULL,
    ce_causationid   text,
    ce_correlationid text        NOT NULL,
    traceparent      text,
    tracestate       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    sequence         bigint      NOT NULL DEFAULT nextval('{TABLE}_sequence'),
    {_KEY_FITS},
    {_ATTRIBUTES_FIT},
    {_TRACE_FITS}
) PARTITION BY RANGE (created_at);

CREATE TABLE {TABLE}_default PARTITION OF {TABLE} DEFAULT;
{_BY_SEQUENCE}
{_BY_KEY}

CREATE TABLE {STATE_TABLE} (
    service            text        PRIMARY KEY,
    system_identifier  text        NOT NULL,
    slot               text        NOT NULL,
    first_position     pg_lsn      NOT NULL,
    first_position_at  timestamptz NOT NULL DEFAULT now(),
    tick               bigint      NOT NULL DEFAULT 0,
    published_sequence bigint      NOT NULL DEFAULT 0
);

{HOLD}"""


UPGRADE = f"""\
CREATE SEQUENCE {TABLE}_sequence;
ALTER TABLE {TABLE} ADD COLUMN sequence bigint NOT NULL DEFAULT nextval('{TABLE}_sequence');
ALTER TABLE {STATE_TABLE} ADD COLUMN tick bigint NOT NULL DEFAULT 0;
"""
"""The migration that adds these columns to an older outbox, word for word."""

BOUNDS = f"""\
ALTER TABLE {TABLE}
    ADD {_KEY_FITS},
    ADD {_ATTRIBUTES_FIT},
    ADD {_TRACE_FITS};
"""
"""The migration that bounds an older outbox's key and headers, word for word."""

MEASURE = f"""\
{_BY_SEQUENCE}
ALTER TABLE {STATE_TABLE} ADD COLUMN published_sequence bigint NOT NULL DEFAULT 0;
-- What there is counts as published: how much of it waits, only the relay's next rows can tell.
UPDATE {STATE_TABLE} SET published_sequence = (SELECT last_value FROM {TABLE}_sequence);
"""  # noqa: S608 - the names are constants
"""The migration by which an older outbox's waiting rows can be counted, word for word."""

BY_KEY = f"{_BY_KEY}\n"
"""The migration by which an older outbox's rows can be found by their key, word for word."""


def append(cursor: Cursor, rows: Sequence[OutboxRow]) -> None:
    """
    Insert `rows` in the caller's transaction, in their order, with one statement.

    Call it once per transaction. Nothing is published unless the caller commits. Raises ValueError
    on more than 2,000 rows, CheckViolation on an unknown topic, a payload over 900,000 bytes, or a
    key, attribute or trace that is longer than `messaging/event.py` lets a reader take.
    """
    append_texts(cursor, [RowTexts.of(row) for row in rows])


def append_texts(cursor: Cursor, rows: Sequence[RowTexts]) -> None:
    """As `append`, of rows that are texts already."""
    if rows:
        cursor.execute(INSERT, arguments(rows))


def arguments(rows: Sequence[RowTexts]) -> list[str]:
    """
    The arguments of `INSERT`, for a statement that writes more than the outbox.

    Raises ValueError on more than 2,000 rows.
    """
    if len(rows) > ROWS_MAX:
        raise ValueError(
            f"{len(rows)} outbox rows in one transaction, at most {ROWS_MAX}: "
            "commit in smaller groups"
        )
    return columns(rows) if rows else NO_ROWS


def find_last(
    cursor: Cursor, *, key: str, event_type: str, since: datetime, until: datetime
) -> OutboxRow | None:
    """
    The last retained row of this key and type that was added between the two moments, or None.

    Appended again it becomes the same record: the same id, the same bytes. Reads what
    `find_retained` says.
    """
    of_type = [
        row
        for row in find_retained(cursor, key=key, since=since, until=until)
        if row.metadata.type == event_type
    ]
    return of_type[-1] if of_type else None


def find_retained(cursor: Cursor, *, key: str, since: datetime, until: datetime) -> list[OutboxRow]:
    """
    The retained rows of this key that were added between the two moments, each event once, in the
    order in which they were published first.

    Reads the ranges of the moments' days that may have the key, one in a hundred besides those that
    have it, and what was appended in the last seconds.
    """
    cursor.execute(_FIND_RETAINED, (key, since, until))
    rows = (_outbox_row(key, *row) for row in cursor.fetchall())
    # A row that was appended again has the same event.
    return list({row.metadata.id: row for row in rows}.values())


def last_repeat(cursor: Cursor, *, key: str, since: datetime) -> datetime | None:
    """When a row of this key was last appended again; None if not since `since`."""
    cursor.execute(_LAST_REPEAT, (key, since, key))
    row = cursor.fetchone()
    return row[0] if row else None


def _outbox_row(  # noqa: PLR0913, PLR0917 - a row has as many columns as it has
    key: str,
    event_id: EventId,
    topic: str,
    event_type: str,
    payload: bytes,
    source: str,
    time: str,
    subject: str,
    causation_id: str | None,
    correlation_id: str,
    traceparent: str | None,
    tracestate: str | None,
) -> OutboxRow:
    metadata = Metadata(
        id=event_id,
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
    True once the relay of `service` has committed its first position for this very database.

    Before that the relay might miss a row, so an API is not ready. A row that was copied from
    another server's database does not count.
    """
    cursor.execute(_FIRST_POSITION, (service,))
    row = cursor.fetchone()
    return bool(row and row[0])


INSERT = f"""
INSERT INTO {TABLE} (id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject,
                     ce_causationid, ce_correlationid, traceparent, tracestate)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[],
                     %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
         AS appended (id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject,
                      ce_causationid, ce_correlationid, traceparent, tracestate)
"""  # noqa: S608 - the table's name is a constant
"""What `append` executes; a condition may be added to its end."""
_FIND_RETAINED = f"""
SELECT id, aggregatetype, type, payload, ce_source, ce_time, ce_subject, ce_causationid,
       ce_correlationid, traceparent, tracestate
FROM {TABLE} WHERE aggregateid = %s AND created_at BETWEEN %s AND %s
ORDER BY sequence
"""  # noqa: S608 - the table's name is a constant
_LAST_REPEAT = f"""
SELECT max(again.created_at) FROM {TABLE} AS again
WHERE again.aggregateid = %s AND again.created_at >= %s AND EXISTS (
    SELECT FROM {TABLE} AS before
    WHERE before.aggregateid = %s AND before.id = again.id AND before.sequence < again.sequence
)
"""  # noqa: S608 - the table's name is a constant
_FIRST_POSITION = f"""
SELECT EXISTS (
    SELECT FROM {STATE_TABLE} AS ours, pg_control_system() AS server
    WHERE ours.service = %s AND ours.system_identifier = server.system_identifier::text
)
"""  # noqa: S608 - the table's name is a constant
