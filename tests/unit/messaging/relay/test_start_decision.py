"""The refusal decision, over every combination of conditions at a start."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from orderflow.messaging.errors import Refused
from orderflow.messaging.relay.position import (
    Database,
    Position,
    from_committed,
    lsn_number,
    lsn_text,
    to_metadata,
)
from orderflow.messaging.relay.start_decision import (
    Refusal,
    ReplicationSlot,
    StartConditions,
    StartStep,
    decide,
)

HERE = Database(system_identifier="7711653351264332549", timeline=1, oid=16384, slot="relay_shop")
ELSEWHERE = (
    msgspec.structs.replace(HERE, system_identifier="1"),
    msgspec.structs.replace(HERE, timeline=2),
    msgspec.structs.replace(HERE, oid=16385),
    msgspec.structs.replace(HERE, slot="relay_other"),
)
WAL_END = 1_000
TICK = 7
POSITIONS = (
    None,
    *(
        Position(lsn=lsn, database=where, tick=tick, resyncing=resyncing)
        for lsn, where, tick, resyncing in product(
            (400, 500, 1_000, 1_001),
            (HERE, ELSEWHERE[0]),
            (TICK - 1, TICK, TICK + 1),
            (False, True),
        )
    ),
)
SLOTS = (
    None,
    *(
        ReplicationSlot(confirmed_flush=500, lost=lost, made_now=made_now, misses_rows=misses_rows)
        for lost, made_now, misses_rows in product((False, True), repeat=3)
    ),
)
EVERYTHING = [
    StartConditions(
        database=HERE,
        wal_end=WAL_END,
        tick=TICK,
        position=position,
        slot=slot,
        publication_fits=publication_fits,
        outbox_empty=outbox_empty,
    )
    for position, slot, publication_fits, outbox_empty in product(
        POSITIONS, SLOTS, (True, False), (True, False)
    )
]


def fine(**changes: object) -> StartConditions:
    """A restart as it should be."""
    conditions = StartConditions(
        database=HERE,
        wal_end=WAL_END,
        tick=TICK,
        position=Position(lsn=600, database=HERE),
        slot=ReplicationSlot(confirmed_flush=500),
        publication_fits=True,
        outbox_empty=False,
    )
    return msgspec.structs.replace(conditions, **changes)


def reason(conditions: StartConditions) -> str:
    step = decide(conditions)
    assert isinstance(step, Refusal), step
    return step.reason


def test_streaming_on_from_a_position_needs_the_whole_invariant() -> None:
    """confirmed_flush ≤ position ≤ WAL end; the same database, slot, publication; no older copy."""
    for conditions in EVERYTHING:
        if conditions.position is None:
            continue

        slot, position = conditions.slot, conditions.position
        holds = (
            position.database == conditions.database
            and slot is not None
            and not slot.made_now
            and not slot.lost
            and conditions.publication_fits
            and slot.confirmed_flush <= position.lsn <= conditions.wal_end
            and position.tick <= conditions.tick
            and not position.resyncing
        )

        assert (decide(conditions) is StartStep.STREAM) == holds, conditions
        assert holds or isinstance(decide(conditions), Refusal), conditions


def test_a_position_that_follows_the_slot_may_be_behind_it_and_nothing_else_is_forgiven() -> None:
    for conditions in EVERYTHING:
        if conditions.position is None:
            continue

        following = msgspec.structs.replace(conditions.position, follows=True)
        behind = msgspec.structs.replace(conditions, position=following)
        caught_up = msgspec.structs.replace(
            conditions,
            position=msgspec.structs.replace(
                conditions.position, lsn=max(conditions.position.lsn, 500)
            ),
        )
        assert (decide(behind) is StartStep.STREAM) == (decide(caught_up) is StartStep.STREAM)


def test_without_a_position_only_a_slot_made_now_or_an_empty_outbox_will_do() -> None:
    for conditions in EVERYTHING:
        if conditions.position is not None:
            continue

        slot = conditions.slot
        if slot is None:
            expected: StartStep | None = StartStep.MAKE_SLOT
        elif slot.made_now:
            expected = None if slot.misses_rows else StartStep.STREAM
        else:
            expected = StartStep.REMAKE_SLOT if conditions.outbox_empty else None

        step = decide(conditions)
        assert isinstance(step, Refusal) if expected is None else step is expected, conditions


def test_a_restart_as_it_should_be_streams() -> None:
    assert decide(fine()) is StartStep.STREAM


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (fine(slot=None), "was dropped"),
        (fine(slot=ReplicationSlot(confirmed_flush=700, made_now=True)), "was dropped"),
        (fine(slot=ReplicationSlot(confirmed_flush=0, lost=True)), "is lost"),
        (
            fine(slot=ReplicationSlot(confirmed_flush=601)),
            "was advanced to 0/259, beyond the position 0/258",
        ),
        (fine(publication_fits=False), "publication relay_shop was dropped or changed"),
        (fine(wal_end=599), "beyond the end of the server's log"),
        (
            fine(tick=6, position=Position(lsn=600, database=HERE, tick=7)),
            "counted to 6, but had counted to 7",
        ),
        (
            fine(position=Position(lsn=0, database=HERE, resyncing=True)),
            "a resync was begun and did not end",
        ),
        (fine(position=None), "the position is missing"),
        (
            fine(
                position=None,
                slot=ReplicationSlot(confirmed_flush=1, made_now=True, misses_rows=True),
            ),
            "nobody would publish",
        ),
    ],
)
def test_every_refusal_says_what_was_found(conditions: StartConditions, words: str) -> None:
    assert words in reason(conditions)


@pytest.mark.parametrize("there", ELSEWHERE)
def test_another_server_timeline_database_or_slot_is_named(there: Database) -> None:
    changed = next(
        field
        for field in Database.__struct_fields__
        if getattr(there, field) != getattr(HERE, field)
    )
    said = reason(fine(position=Position(lsn=600, database=there)))
    assert said.startswith("the position belongs to another database")
    assert f"{changed} {getattr(there, changed)} there, {getattr(HERE, changed)} here" in said


def test_a_position_comes_back_from_its_offset_and_metadata() -> None:
    for tick, flag in ((0, False), (2**62, True)):
        position = Position(
            lsn=2**62 + 1, database=HERE, tick=tick, resyncing=flag, resent=3, follows=flag
        )
        assert from_committed(position.lsn, to_metadata(position)) == position
        assert len(to_metadata(position)) < 4_096


def test_a_position_from_before_ticks_were_counted_is_read_as_tick_0() -> None:
    assert from_committed(5, msgspec.json.encode(HERE).decode()) == Position(lsn=5, database=HERE)


@pytest.mark.parametrize("metadata", [None, "", "{}", "somebody else's"])
def test_an_offset_that_no_relay_wrote_is_refused(metadata: str | None) -> None:
    with pytest.raises(Refused, match="not written by a relay"):
        from_committed(5, metadata)


def test_positions_are_written_as_postgresql_writes_them() -> None:
    assert lsn_text(0x2_0000_64098) == "20/64098"
    for number in (0, 1, 0xFFFFFFFF, 0x1_0000_0000, 2**63 - 1):
        assert lsn_number(lsn_text(number)) == number
