"""
The relay's position: how far the outbox is published, kept on Kafka in the records' transaction.

It is the end LSN of the last published database transaction, committed as the offset of group
`relay.<service>` on partition 0 of `relay-positions`, a topic without records. An LSN is a 64-bit
number, and so is an offset. The offset's metadata identifies the database, so that a position is
never applied to another server's log.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orderflow.messaging.errors import Refused
from orderflow.messaging.kafka.clients import Consumer, TopicPartition
from orderflow.messaging.kafka.transactions import committed

POSITIONS_TOPIC = "relay-positions"
POSITIONS_PARTITION = 0


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """
    The database whose log a position counts in.

    `oid` distinguishes a database from one of the same name that was made later on the same server.
    """

    system_identifier: str
    timeline: int
    oid: int
    slot: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """
    All that ends at or before `lsn` in `database`'s log is on Kafka.

    `tick` is the database's counter as it was before this position was committed. The database's
    counter is never lower, unless the database was restored from a backup. `resyncing`: a resync
    has begun and not ended, so the first sentence does not hold yet. `resent` counts the
    transactions with held rows: those that the database has marked with it, or less, are on Kafka.
    `follows`: another reader of the slot publishes, and this position is behind it: all that the
    slot has confirmed is on Kafka too.
    """

    lsn: int
    database: Database
    tick: int = 0
    resyncing: bool = False
    resent: int = 0
    follows: bool = False


class _Metadata(Database, frozen=True, kw_only=True, omit_defaults=True):
    tick: int = 0
    resyncing: bool = False
    resent: int = 0
    follows: bool = False


_OWN = tuple(set(_Metadata.__struct_fields__) - set(Database.__struct_fields__))


def read_position(consumer: Consumer, *, between: Callable[[], None]) -> Position | None:
    """
    The committed position, None if there is none. The topic must exist.

    Waits while the broker is unavailable; `between` runs between slices of 2 s, and raises to give
    up. Raises Refused when the committed offset is not a relay's.
    """
    offset = committed(
        consumer, TopicPartition(POSITIONS_TOPIC, POSITIONS_PARTITION), between=between
    )
    return None if offset.offset < 0 else from_committed(offset.offset, offset.metadata)


def position_offset(position: Position) -> TopicPartition:
    """The offset to commit for `position`."""
    return TopicPartition(POSITIONS_TOPIC, POSITIONS_PARTITION, position.lsn, to_metadata(position))


def to_metadata(position: Position) -> str:
    """All but the LSN, which is the offset: at most some 200 bytes, of 4,095 that Kafka accepts."""
    own = {name: getattr(position, name) for name in _OWN}
    database = msgspec.structs.asdict(position.database)
    return msgspec.json.encode(_Metadata(**database, **own)).decode()


def from_committed(lsn: int, metadata: str | None) -> Position:
    """Raises Refused when the metadata is not a relay's: something else commits to this group."""
    try:
        fields = msgspec.json.decode(metadata or "", type=_Metadata)
    except msgspec.DecodeError as error:
        raise Refused(
            f"the offset {lsn} on {POSITIONS_TOPIC} was not written by a relay "
            f"(metadata {metadata!r}); nothing was changed: find out who commits to this group"
        ) from error

    database = Database(**{name: getattr(fields, name) for name in Database.__struct_fields__})
    return Position(lsn=lsn, database=database, **{name: getattr(fields, name) for name in _OWN})


def lsn_text(lsn: int) -> str:
    """PostgreSQL's text form of an LSN: `0/2064098`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """The reverse of `lsn_text`."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)
