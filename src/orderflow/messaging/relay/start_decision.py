"""
Decides whether a relay may stream, from what its session read; touches nothing itself.

The invariant: confirmed_flush_lsn ≤ position ≤ the server's WAL end, in one and the same database,
whose counter is not lower than the position's. Where it does not hold, streaming would lose rows or
repeat them silently: the relay refuses, and its message says what was read. A position that follows
the slot, because another reader publishes, may be behind it.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from orderflow.messaging.relay.position import Database, Position, lsn_text


class ReplicationSlot(msgspec.Struct, frozen=True, kw_only=True):
    """
    The replication slot as read. `lost`: the server removed log files that it needed.

    `made_now`: this start made it. Then `misses_rows` is true if the outbox held rows before, which
    such a slot never sends.
    """

    confirmed_flush: int
    lost: bool = False
    made_now: bool = False
    misses_rows: bool = False


class StartConditions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the decision depends on. `tick` is the database's counter."""

    database: Database
    wal_end: int
    tick: int
    position: Position | None
    slot: ReplicationSlot | None
    publication_fits: bool
    outbox_empty: bool


class StartStep(Enum):
    """What the session does next."""

    STREAM = "stream"
    MAKE_SLOT = "make the slot"
    REMAKE_SLOT = "drop the slot, which nothing needs, and make it again"


class Refusal(msgspec.Struct, frozen=True):
    """The reason why the session may not stream."""

    reason: str


def decide(conditions: StartConditions) -> StartStep | Refusal:
    """A pure, total function: every combination of conditions has a step or a refusal."""
    if conditions.position is None:
        return _without_position(conditions, conditions.slot)
    return _with_position(conditions, conditions.position, conditions.slot)


def _without_position(
    conditions: StartConditions, slot: ReplicationSlot | None
) -> StartStep | Refusal:
    if slot is None:
        return StartStep.MAKE_SLOT

    if slot.made_now:
        if slot.misses_rows:
            return Refusal(
                "there is neither a position nor a slot, but the outbox has rows: "
                "nobody would publish them"
            )
        return StartStep.STREAM

    # A start that was killed between slot and first position leaves such a slot.
    if conditions.outbox_empty:
        return StartStep.REMAKE_SLOT
    return Refusal(
        f"the position is missing on Kafka, but slot {conditions.database.slot} has been used "
        f"(confirmed to {lsn_text(slot.confirmed_flush)}) and the outbox has rows: "
        "which of them are published is unknown"
    )


def _with_position(  # noqa: PLR0911 - one return per reason
    conditions: StartConditions, position: Position, slot: ReplicationSlot | None
) -> StartStep | Refusal:
    here, there = conditions.database, position.database
    at = lsn_text(position.lsn)

    # Identity first: the numbers of another database's log mean nothing here.
    if there != here:
        return Refusal(f"the position belongs to another database: {_differences(there, here)}")
    if position.resyncing:
        return Refusal(
            "a resync was begun and did not end: rows may be missing on Kafka; it can be run again"
        )

    # A restored backup whose log has grown beyond the position again shows only in its counter.
    if position.lsn > conditions.wal_end:
        return Refusal(
            f"the position {at} is beyond the end of the server's log "
            f"({lsn_text(conditions.wal_end)}): this database is an older copy"
        )
    if position.tick > conditions.tick:
        return Refusal(
            f"this database is an older copy of itself: it has counted to {conditions.tick}, "
            f"but had counted to {position.tick} when the position {at} was committed"
        )

    if slot is None or slot.made_now:
        return Refusal(f"slot {here.slot} was dropped: rows after {at} may be missing from the log")
    if slot.lost:
        return Refusal(f"slot {here.slot} is lost: the server removed log files that it needed")
    if not conditions.publication_fits:
        return Refusal(
            f"publication {here.slot} was dropped or changed: rows may be missing from the stream"
        )
    if slot.confirmed_flush > position.lsn and not position.follows:
        return Refusal(
            f"slot {here.slot} was advanced to {lsn_text(slot.confirmed_flush)}, "
            f"beyond the position {at}: the rows between would be skipped"
        )
    return StartStep.STREAM


def _differences(there: Database, here: Database) -> str:
    return ", ".join(
        f"{field} {getattr(there, field)} there, {getattr(here, field)} here"
        for field in Database.__struct_fields__
        if getattr(there, field) != getattr(here, field)
    )
