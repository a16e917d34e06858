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
    """
    Everything that ends at or before `lsn` in `database`'s log is on Kafka.

    `tick` is what the database counted before this was committed: it never has less again, unless it is an older copy
    of itself. `resyncing`: a resync was begun, and this is not true yet.
    """

    lsn: int
    database: Database
    tick: int = 0
    resyncing: bool = False


class _Metadata(Database, frozen=True, kw_only=True, omit_defaults=True):
    tick: int = 0
    resyncing: bool = False


def to_metadata(position: Position) -> str:
    """All but the LSN, which is the offset: at most some 180 bytes; Kafka takes 4,095."""
    where = msgspec.structs.asdict(position.database)
    return msgspec.json.encode(
        _Metadata(**where, tick=position.tick, resyncing=position.resyncing)
    ).decode()


def from_committed(lsn: int, metadata: str | None) -> Position:
    """Raises Refused when the metadata is not ours: somebody else writes this group's offsets."""
    try:
        told = msgspec.json.decode(metadata or "", type=_Metadata)
    except msgspec.DecodeError as error:
        raise Refused(
            f"the offset {lsn} on {POSITIONS_TOPIC} was not written by a relay (metadata {metadata!r}); "
            "nothing was changed: find out who commits to this group"
        ) from error
    database = Database(**{field: getattr(told, field) for field in Database.__struct_fields__})
    return Position(lsn=lsn, database=database, tick=told.tick, resyncing=told.resyncing)


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it: `0/2064098`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """The reverse of `lsn_text`."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)
