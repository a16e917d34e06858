"""Which rows a relay publishes next, and up to which position, over a scripted stream."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.messaging.relay.messages import OUTBOX, begin, commit, insert, relation

from orderflow.messaging.event import rfc3339_ms
from orderflow.messaging.relay.batch_reader import BatchReader
from orderflow.messaging.relay.records import ProducerRecord

TABLE = relation(OUTBOX)


class ScriptedStream:
    """Delivers messages as if all had arrived; calls `in_quiet` instead of waiting."""

    def __init__(self, *messages: bytes) -> None:
        self.wal_end = 0
        self.messages = list(messages)
        self.waits: list[float] = []
        self.in_quiet: Callable[[], None] = lambda: None

    def next_message(self) -> bytes | None:
        return self.messages.pop(0) if self.messages else None

    def wait(self, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        if timeout_s:
            self.in_quiet()
        return bool(self.messages)


def row(key: str, sequence: int = 0) -> bytes:
    values = {
        "sequence": sequence.to_bytes(8, "big"),
        "id": bytes(16),
        "aggregatetype": b"parcels",
        "aggregateid": key.encode(),
        "payload": b"x" * 10,
        "ce_time": rfc3339_ms(datetime(2026, 1, 31, tzinfo=UTC)).encode(),
    }
    return insert([values.get(column) for column in OUTBOX])


def transaction(end_lsn: int, *keys: str) -> list[bytes]:
    return [begin(), *(row(key) for key in keys), commit(end_lsn)]


def reader(
    stream: ScriptedStream, *, published: int = 0, rows_max: int = 100, bytes_max: int = 10_000
) -> BatchReader:
    return BatchReader(stream, published=published, rows_max=rows_max, bytes_max=bytes_max)


def keys(batch: tuple[list[ProducerRecord], int]) -> tuple[list[bytes], int]:
    rows, end_lsn = batch
    return [row.key for row in rows], end_lsn


def test_all_that_has_arrived_is_one_batch_up_to_the_last_commit() -> None:
    stream = ScriptedStream(TABLE, *transaction(10, "a", "b"), *transaction(20, "c"))
    assert keys(reader(stream).next_batch()) == ([b"a", b"b", b"c"], 20)
    assert 0.5 not in stream.waits, "rows that are there wait for no others"


@pytest.mark.parametrize("limit", [{"rows_max": 2}, {"bytes_max": 20}])
def test_a_batch_ends_with_the_transaction_that_reaches_a_limit(limit: dict[str, int]) -> None:
    stream = ScriptedStream(
        TABLE, *transaction(10, "a"), *transaction(20, "b", "c"), *transaction(30, "d")
    )
    batches = reader(stream, **limit)
    assert keys(batches.next_batch()) == ([b"a", b"b", b"c"], 20)
    assert keys(batches.next_batch()) == ([b"d"], 30)


def test_what_was_published_before_the_session_is_dropped() -> None:
    """The slot repeats what ends at or before the position: PostgreSQL was not told of it yet."""
    stream = ScriptedStream(TABLE, *transaction(10, "a"), *transaction(20, "b"))
    assert keys(reader(stream, published=10).next_batch()) == ([b"b"], 20)


def test_in_quiet_the_position_is_the_end_of_the_searched_log() -> None:
    stream = ScriptedStream()
    stream.wal_end = 99
    assert keys(reader(stream, published=10).next_batch()) == ([], 99)
    assert stream.waits == [0, 0.5, 0]


def test_inside_a_transaction_the_end_of_the_log_is_no_position() -> None:
    """A keepalive between its messages may name an end beyond rows that are still to come."""
    stream = ScriptedStream(TABLE, begin(), row("a"))
    stream.wal_end = 99
    batches = reader(stream, published=10)
    assert keys(batches.next_batch()) == ([], 10)

    stream.messages.append(commit(50))
    assert keys(batches.next_batch()) == ([b"a"], 50)


def test_rows_that_arrive_while_it_waits_are_taken() -> None:
    stream = ScriptedStream(TABLE)
    stream.in_quiet = lambda: stream.messages.extend(transaction(10, "a"))
    assert keys(reader(stream).next_batch()) == ([b"a"], 10)


def test_the_highest_sequence_is_of_what_was_returned_or_dropped() -> None:
    """What the slot repeats after a kill corrects the note of how far the outbox is published."""
    stream = ScriptedStream(TABLE, begin(), row("a", 300), row("b", 299), commit(10))
    batches = reader(stream, published=10)
    batches.next_batch()
    assert batches.sequence == 300, "published before the session"

    stream.messages += [begin(), row("c", 255), commit(20)]
    batches.next_batch()
    assert batches.sequence == 300, "numbers are drawn before the commit: none goes back"

    stream.messages += [begin(), row("d", 301)]
    batches.next_batch()
    assert batches.sequence == 300, "a transaction that has not ended is not published"

    stream.messages.append(commit(30))
    batches.next_batch()
    assert batches.sequence == 301
