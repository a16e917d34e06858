"""
May this relay go on from what it found? Decided here, without touching anything; done elsewhere.

The invariant: confirmed_flush_lsn ≤ position ≤ the server's WAL end, in one and the same database, which is not an
older copy of itself: it has counted as far as the position says, or further. Where it does not hold, going on would
lose rows or repeat them silently, so the relay refuses, says what it found, and names the way out.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from orderflow.messaging.relay.position import Database, Position, lsn_text

WAY_OUT = "nothing was changed; `orderflow relay resync` starts a new slot and publishes the retained rows again"


class ReplicationSlot(msgspec.Struct, frozen=True, kw_only=True):
    """
    The replication slot as found. `made_now` by this very start; then `misses_rows` says whether the outbox already
    held rows that it will never show.
    """

    confirmed_flush: int
    lost: bool = False
    made_now: bool = False
    misses_rows: bool = False


class StartConditions(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state that the decision rests on. `tick` is what the database has counted."""

    database: Database
    wal_end: int
    tick: int
    position: Position | None
    slot: ReplicationSlot | None
    publication_fits: bool
    outbox_empty: bool


class StartStep(Enum):
    """What to do next."""

    STREAM = "stream"
    MAKE_SLOT = "make the slot"
    REMAKE_SLOT = "drop the slot, which nothing needs, and make it again"


class Refusal(msgspec.Struct, frozen=True):
    """Why not."""

    reason: str


def decide(found: StartConditions) -> StartStep | Refusal:
    """A total function of what was found."""
    if found.position is None:
        return _without_position(found, found.slot)
    return _with_position(found, found.position, found.slot)


def _without_position(found: StartConditions, slot: ReplicationSlot | None) -> StartStep | Refusal:
    if slot is None:
        return StartStep.MAKE_SLOT
    if slot.made_now:
        if slot.misses_rows:
            return Refusal(
                "there is neither a position nor a slot, but the outbox has rows: nobody would publish them"
            )
        return StartStep.STREAM
    if found.outbox_empty:
        return StartStep.REMAKE_SLOT
    return Refusal(
        f"the position is missing on Kafka, but slot {found.database.slot} has been used "
        f"(confirmed to {lsn_text(slot.confirmed_flush)}) and the outbox has rows: "
        "which of them are published is unknown"
    )


def _with_position(  # noqa: PLR0911 - one return per reason
    found: StartConditions, position: Position, slot: ReplicationSlot | None
) -> StartStep | Refusal:
    here, there = found.database, position.database
    if there != here:
        return Refusal(f"the position belongs to another database: {_differences(there, here)}")
    if position.resyncing:
        return Refusal(
            "a resync was begun and did not end: rows may be missing on Kafka; it can be run again"
        )
    if position.lsn > found.wal_end:
        return Refusal(
            f"the position {lsn_text(position.lsn)} is beyond the end of the server's log ({lsn_text(found.wal_end)}): "
            "this database is an older copy"
        )
    if position.tick > found.tick:
        return Refusal(
            f"this database is an older copy of itself: it has counted to {found.tick}, but had counted to "
            f"{position.tick} when the position {lsn_text(position.lsn)} was committed"
        )
    if slot is None or slot.made_now:
        return Refusal(
            f"slot {here.slot} was dropped: rows after {lsn_text(position.lsn)} may be missing from the log"
        )
    if slot.lost:
        return Refusal(f"slot {here.slot} is lost: the server removed log files that it needed")
    if not found.publication_fits:
        return Refusal(
            f"publication {here.slot} was dropped or changed: rows may be missing from the stream"
        )
    if slot.confirmed_flush > position.lsn:
        return Refusal(
            f"slot {here.slot} was advanced to {lsn_text(slot.confirmed_flush)}, beyond the position "
            f"{lsn_text(position.lsn)}: the rows between would be skipped"
        )
    return StartStep.STREAM


def _differences(there: Database, here: Database) -> str:
    return ", ".join(
        f"{field} {getattr(there, field)} there, {getattr(here, field)} here"
        for field in Database.__struct_fields__
        if getattr(there, field) != getattr(here, field)
    )
