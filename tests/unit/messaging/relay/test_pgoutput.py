"""What PostgreSQL sends, read back: bytes caught from a server, and whatever Hypothesis invents."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.messaging.relay.messages import OUTBOX, begin, commit, insert, relation

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.event import CE_ID, EventId, Metadata, to_headers
from orderflow.messaging.relay.pgoutput import Parser, Relation, Transaction, Values, read_relation
from orderflow.messaging.relay.records import ProducerRecord, record_reader

# Caught from PostgreSQL 18.6: CREATE TABLE pair (id uuid, note text);
# INSERT ('0188a0b0-…', 'höher'), (NULL, NULL).
GOLDEN = tuple(
    map(
        bytes.fromhex,
        (
            "420000000020feed70000304021d6e284700009b24",
            (
                "52000050fe7075626c69630070616972006400020069640000000b86ffffffff"
                "006e6f74650000000019ffffffff"
            ),
            "49000050fe4e000262000000100188a0b0c0d0e0f00102030405060708620000000668c3b6686572",
            "49000050fe4e00026e6e",
            "43000000000020feed700000000020feeda0000304021d6e2847",
        ),
    )
)


def plain(_relation: Relation) -> type[list[bytes | None]]:
    return list


def test_bytes_caught_from_a_server_are_read_as_they_were_meant() -> None:
    parser = Parser(plain)
    assert [parser.feed(message) for message in GOLDEN[:-1]] == [None] * 4
    done = parser.feed(GOLDEN[-1])
    assert done is not None
    assert done.rows == [
        [UUID("0188a0b0-c0d0-e0f0-0102-030405060708").bytes, "höher".encode()],
        [None, None],
    ]
    assert done.end_lsn == 0x20FEEDA0
    assert done.committed_at.isoformat(timespec="minutes") == "2026-11-24T10:41+00:00"
    assert read_relation(GOLDEN[1]) == Relation(0x50FE, "pair", ("id", "note"))


value = st.none() | st.binary(max_size=300)
transaction = st.lists(st.lists(value, min_size=3, max_size=3), max_size=8)


@given(st.lists(st.tuples(transaction, st.integers(1, 2**62)), max_size=6))
def test_transactions_come_out_whole_and_in_order(
    transactions: list[tuple[list[Values], int]],
) -> None:
    parser = Parser(plain)
    parser.feed(relation(("a", "b", "c")))
    out: list[Transaction[Values]] = []
    for rows, end_lsn in transactions:
        for message in (begin(), *(insert(row) for row in rows), commit(end_lsn)):
            done = parser.feed(message)
            out += [] if done is None else [done]
    assert [(done.rows, done.end_lsn) for done in out] == transactions


def test_nothing_of_a_transaction_comes_out_before_its_commit() -> None:
    parser = Parser(plain)
    parser.feed(relation(("a",)))
    assert not parser.inside
    assert parser.feed(begin()) is None
    assert parser.feed(insert([b"x"])) is None
    assert parser.inside


@pytest.mark.parametrize(
    "message", [b"T" + bytes(9), b"U" + bytes(9), b"D" + bytes(9), b"S" + bytes(9), b"?"]
)
def test_a_message_that_an_insert_only_stream_never_has_is_an_error_not_a_gap(
    message: bytes,
) -> None:
    with pytest.raises(ValueError, match="never has"):
        Parser(plain).feed(message)


def test_a_value_that_did_not_come_in_binary_is_an_error() -> None:
    parser = Parser(plain)
    parser.feed(relation(("a",)))
    with pytest.raises(ValueError, match="binary"):
        parser.feed(insert([b"x"]).replace(b"b\0", b"t\0"))


@given(st.binary(min_size=1, max_size=40), st.integers(1, 30))
def test_a_row_that_was_cut_is_an_error(payload: bytes, cut: int) -> None:
    parser = Parser(plain)
    parser.feed(relation(("a",)))
    whole = insert([payload])
    shorter = whole[: max(9, len(whole) - cut)]
    with pytest.raises(ValueError, match="end at"):
        parser.feed(shorter)


METADATA = Metadata(
    id=EventId(UUID("0188a0b0-c0d0-e0f0-0102-030405060708")),
    type="shop.ParcelShipped",
    source="/shop/parcels",
    time=datetime.fromisoformat("2026-01-31T09:05:00.123Z"),
    subject="p-1",
    correlation_id="p-1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


def outbox_values() -> dict[str, bytes | None]:
    headers = dict(to_headers(METADATA))
    return {
        **{column: headers.get(column) for column in OUTBOX},
        "id": METADATA.id.bytes,
        "aggregatetype": b"parcels",
        "aggregateid": b"p-1",
        "type": headers["ce_type"],
        "payload": b"\0\0\0\0\1x",
        "created_at": bytes(8),
    }


@given(st.permutations((*OUTBOX, "a_later_column")))
def test_a_row_becomes_a_record_with_the_headers_of_its_event(order: list[str]) -> None:
    """Whatever the columns' order in the table, and with columns that the record does not need."""
    read = record_reader(Relation(9, "outbox", tuple(order)))
    record = read([outbox_values().get(column) for column in order])
    assert record[:3] == ("parcels", b"p-1", b"\0\0\0\0\1x")
    assert sorted(record.headers) == sorted(to_headers(METADATA))


def test_ids_keep_their_leading_zeros() -> None:
    read = record_reader(Relation(9, "outbox", OUTBOX))
    record: ProducerRecord = read(
        [{**outbox_values(), "id": bytes(15) + b"\1"}[column] for column in OUTBOX]
    )
    assert dict(record.headers)[CE_ID] == b"00000000-0000-0000-0000-000000000001"


def test_a_table_without_a_column_that_the_record_needs_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="no column payload"):
        record_reader(
            Relation(9, "outbox", tuple(column for column in OUTBOX if column != "payload"))
        )
