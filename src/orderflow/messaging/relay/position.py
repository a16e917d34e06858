"""
The relay's position: how far the outbox is on Kafka, kept on Kafka, in the same transaction as the records.

It is the end LSN of the last published database transaction, committed as the offset of group `relay.<service>` on
partition 0 of `relay-positions` (a topic that never has a record). The offset's metadata names the database it counts
in, so that a position never meets another server's log. An LSN is a 64-bit number, and so is an offset.
"""

from __future__ import annotations

import msgspec

from orderflow.messaging.errors import Refused

POSITIONS_TOPIC = "relay-positions"
POSITIONS_PARTITION = 0


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """Which log a position counts in. `oid` tells a database from its namesake made later on the same server."""

    system_identifier: str
    timeline: int
    oid: int
    slot: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ends at or before `lsn` in `database`'s log is on Kafka."""

    lsn: int
    database: Database


def to_metadata(database: Database) -> str:
    """At most some 150 bytes; Kafka takes 4,095."""
    return msgspec.json.encode(database).decode()


def from_committed(lsn: int, metadata: str | None) -> Position:
    """Raises Refused when the metadata is not ours: somebody else writes this group's offsets."""
    try:
        return Position(lsn=lsn, database=msgspec.json.decode(metadata or "", type=Database))
    except msgspec.DecodeError as error:
        raise Refused(
            f"the offset {lsn} on {POSITIONS_TOPIC} was not written by a relay (metadata {metadata!r}); "
            "nothing was changed: find out who commits to this group"
        ) from error


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it: `0/2064098`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """The reverse of `lsn_text`."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)
