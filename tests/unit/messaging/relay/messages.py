"""Logical replication messages as PostgreSQL sends them, and the columns of an outbox."""

from __future__ import annotations

import struct

from orderflow.messaging.relay.pgoutput import Values

OUTBOX = (
    "id",
    "aggregatetype",
    "aggregateid",
    "type",
    "payload",
    "ce_source",
    "ce_time",
    "ce_subject",
    "ce_causationid",
    "ce_correlationid",
    "traceparent",
    "tracestate",
    "created_at",
    "sequence",
)


def begin() -> bytes:
    return struct.pack(">cQqI", b"B", 1, 2, 3)


def commit(end_lsn: int, committed_us: int = 7) -> bytes:
    return struct.pack(">cBQQq", b"C", 0, end_lsn - 1, end_lsn, committed_us)


def relation(columns: tuple[str, ...], *, number: int = 9) -> bytes:
    described = b"".join(
        b"\x00" + name.encode() + b"\0" + struct.pack(">Ii", 25, -1) for name in columns
    )
    return (
        struct.pack(">cI", b"R", number)
        + b"public\0outbox\0d"
        + struct.pack(">H", len(columns))
        + described
    )


def insert(values: Values, *, number: int = 9) -> bytes:
    parts = (
        b"n" if value is None else b"b" + struct.pack(">I", len(value)) + value for value in values
    )
    return struct.pack(">cIcH", b"I", number, b"N", len(values)) + b"".join(parts)
