"""
PostgreSQL's logical replication messages, as far as an insert-only publication needs them.

Guarantee: rows come out by whole database transactions, in commit order; a transaction that is cut
off never comes out. An unknown message raises ValueError, because skipping it could skip a row.
Source: PostgreSQL documentation, "Logical Replication Message Formats", protocol version 1, option
`binary`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Generic, NamedTuple, TypeVar

Row = TypeVar("Row")
Values = list[bytes | None]
Reader = Callable[[Values], Row]
"""Converts the values of one row, in the relation's column order, into the caller's type."""

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_NULL, _BINARY = b"nb"
_BEGIN, _COMMIT, _RELATION, _INSERT, _TYPE, _ORIGIN, _NEW = b"BCRIYON"
_COMMIT_BODY = Struct(">BQQq")
_RELATION_ID = Struct(">I")
_COLUMN_COUNT = Struct(">H")
_INSERT_VALUES_AT = 8  # after 'I', the relation's id, 'N' and the number of columns
_COLUMN_TAIL_BYTES = 8  # type id and type modifier, behind each column's name


class Relation(NamedTuple):
    """A table as the stream describes it: the names of its columns, in the order of the values."""

    id: int
    name: str
    columns: tuple[str, ...]


class Transaction(NamedTuple, Generic[Row]):
    """A committed database transaction: its rows, the LSN right after it, its commit time in µs."""

    rows: list[Row]
    end_lsn: int
    committed_us: int

    @property
    def committed_at(self) -> datetime:
        return POSTGRES_EPOCH + timedelta(microseconds=self.committed_us)


class Parser(Generic[Row]):
    """
    Assembles messages into transactions.

    `reader_for` is called for each Relation message, so a changed table is noticed before its first
    changed row. `inside` is true between the first and the last message of a transaction.
    """

    def __init__(self, reader_for: Callable[[Relation], Reader[Row]]) -> None:
        self._reader_for = reader_for
        self._readers: dict[int, Reader[Row]] = {}
        self._rows: list[Row] = []
        self.inside = False

    def feed(self, message: bytes) -> Transaction[Row] | None:
        """
        Take one message; return the transaction that it ends, if it ends one.

        Raises ValueError on a message that this module can't read.
        """
        kind = message[0]

        # Inserts first: they are nearly all messages, and this is the relay's busiest line.
        if kind == _INSERT:
            relation_id, count = (
                _RELATION_ID.unpack_from(message, 1)[0],
                _COLUMN_COUNT.unpack_from(message, 6)[0],
            )
            self._rows.append(
                self._readers[relation_id](tuple_values(message, _INSERT_VALUES_AT, count))
            )
        elif kind == _COMMIT:
            _flags, _commit_lsn, end_lsn, committed_us = _COMMIT_BODY.unpack_from(message, 1)
            rows, self._rows, self.inside = self._rows, [], False
            return Transaction(rows, end_lsn, committed_us)
        elif kind == _BEGIN:
            self.inside = True
        elif kind == _RELATION:
            relation = read_relation(message)
            self._readers[relation.id] = self._reader_for(relation)
        elif kind not in (_TYPE, _ORIGIN):
            raise ValueError(
                f"a replication message of kind {chr(kind)!r}, "
                "which an insert-only publication never has"
            )
        return None


def tuple_values(message: bytes, at: int, count: int) -> Values:
    """
    The `count` column values from offset `at`: their binary form, or None for NULL.

    Raises ValueError on a value in any other form, and on bytes left over.
    """
    values: Values = []
    for _ in range(count):
        kind = message[at]
        if kind == _BINARY:
            start = at + 5
            at = start + int.from_bytes(message[at + 1 : start], "big")
            values.append(message[start:at])
        elif kind == _NULL:
            values.append(None)
            at += 1
        else:
            raise ValueError(f"column {len(values)} came as {chr(kind)!r}, not in its binary form")

    if at != len(message):
        raise ValueError(f"a row of {len(message)} bytes, but its columns end at {at}")
    return values


def read_relation(message: bytes) -> Relation:
    """
    The table of a Relation message.

    Its layout: id, schema, table, replica identity, then each column's flags, name, type, modifier.
    """
    (relation_id,) = _RELATION_ID.unpack_from(message, 1)
    schema_end = message.index(0, 5)
    name_end = message.index(0, schema_end + 1)
    (count,) = _COLUMN_COUNT.unpack_from(message, name_end + 2)

    columns, at = [], name_end + 4
    for _ in range(count):
        end = message.index(0, at + 1)
        columns.append(message[at + 1 : end].decode())
        at = end + 1 + _COLUMN_TAIL_BYTES
    return Relation(relation_id, message[schema_end + 1 : name_end].decode(), tuple(columns))
