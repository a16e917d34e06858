"""The outbox's limits and its table, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import pytest
from msgspec import structs

from orderflow.messaging.event import (
    ATTRIBUTE_BYTES_MAX,
    TRACEPARENT_BYTES_MAX,
    TRACESTATE_BYTES_MAX,
    EventId,
    Metadata,
    from_headers,
    to_headers,
)
from orderflow.messaging.kafka.topics import RECORD_BYTES_MAX
from orderflow.messaging.postgres.connection import Cursor
from orderflow.messaging.postgres.outbox import (
    KEY_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    ROWS_MAX,
    OutboxRow,
    append,
    ddl,
)

METADATA = Metadata(
    id=EventId(UUID(int=1)),
    type="probe.Fact",
    source="/probe",
    time=datetime(2026, 1, 31, 9, 5, 0, 123_999, UTC),
    subject="s",
    correlation_id="c",
)
VARINT_BYTES = 5
ROW = OutboxRow(topic="facts", key="k", payload=b"x", metadata=METADATA)


class Recorder:
    """A cursor that notes what it was asked."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, tuple[list[object], ...]]] = []

    def execute(self, statement: str, columns: tuple[list[object], ...]) -> None:
        self.statements.append((statement, columns))


def appended(*rows: OutboxRow) -> list[tuple[str, tuple[list[object], ...]]]:
    recorder = Recorder()
    append(cast("Cursor", recorder), rows)
    return recorder.statements


def test_any_number_of_rows_is_one_statement() -> None:
    ((statement, columns),) = appended(ROW, ROW, ROW)
    assert statement.count("%s") == len(columns) == 12


def test_too_many_rows_are_refused_before_anything_is_written() -> None:
    """A Kafka transaction holds whole database transactions: this bounds it."""
    assert len(appended(*[ROW] * ROWS_MAX)) == 1
    recorder = Recorder()
    with pytest.raises(ValueError, match="2001 outbox rows"):
        append(cast("Cursor", recorder), [ROW] * (ROWS_MAX + 1))
    assert recorder.statements == []


def test_no_rows_are_no_statement() -> None:
    assert appended() == []


def test_the_table_knows_its_topics_and_its_largest_payload() -> None:
    text = ddl(["order-events", "orders"])
    assert "CHECK (aggregatetype IN ('order-events', 'orders'))" in text
    assert f"octet_length(payload) <= {PAYLOAD_BYTES_MAX}" in text
    assert ddl(["orders", "order-events"]) == text


def test_a_row_at_every_bound_is_a_record_that_every_topic_takes() -> None:
    """The broker refuses what is larger, for good: then the relay could publish nothing more."""
    longest = "x" * ATTRIBUTE_BYTES_MAX
    metadata = Metadata(
        id=METADATA.id,
        type=longest,
        source=longest,
        time=METADATA.time,
        subject=longest,
        correlation_id=longest,
        causation_id=longest,
        traceparent="x" * TRACEPARENT_BYTES_MAX,
        tracestate="x" * TRACESTATE_BYTES_MAX,
    )
    headers = to_headers(metadata)
    of_headers = sum(len(name) + len(value) + 2 * VARINT_BYTES for name, value in headers)
    assert PAYLOAD_BYTES_MAX + KEY_BYTES_MAX + of_headers + 1_000 < RECORD_BYTES_MAX
    assert from_headers(headers) == structs.replace(
        metadata, time=metadata.time.replace(microsecond=123_000)
    )
