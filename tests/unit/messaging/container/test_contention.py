"""
Contention: a locked row, or a statement that takes too long, delays only the record that meets it.
"""

from __future__ import annotations

import pytest
from tests.support.memory_listener import MemoryListener

from orderflow.messaging.testing.memory_database import MemoryDatabase

KEYS = [f"key-{number}" for number in range(40)]


@pytest.mark.parametrize("with_database", [False, True])
def test_a_record_that_meets_a_lock_waits_in_place_and_all_others_pass(
    *, with_database: bool
) -> None:
    listener = MemoryListener(database=MemoryDatabase() if with_database else None)
    listener.ask("locked", 0, behaviour="locked")
    listener.ask("locked", 1)
    for key in KEYS:
        listener.ask(key, 0)
    listener.turn(8)
    assert listener.told == {key: [0] for key in KEYS}
    assert listener.reasons() == [], "the database is there"

    listener.handler.locked = False
    listener.run()
    assert listener.told["locked"] == [0, 1], "its key waited behind it"


def test_a_record_that_meets_a_lock_for_an_hour_is_no_dead_letter_and_is_tried_soon_after() -> None:
    listener = MemoryListener()
    listener.ask("locked", 0, behaviour="locked")
    for _ in range(14_400):
        listener.turn()
    assert (listener.dead, listener.told) == ([], {})

    listener.handler.locked = False
    listener.turn(4 * 7)
    assert listener.told == {"locked": [0]}


def test_what_met_a_lock_runs_alone_and_the_others_go_on_in_full_waves() -> None:
    listener = MemoryListener()
    listener.ask("locked", 0, behaviour="locked")
    for key in KEYS:
        listener.ask(key, 0)
    listener.turn(8)
    before = len(listener.handler.waves)
    for number in range(1, 20):
        for key in KEYS:
            listener.ask(key, number)
        listener.turn(4)
    waves = listener.handler.waves[before:]
    assert max(len(wave) for wave in waves) == len(KEYS)
    assert all(len(wave) == 1 for wave in waves if ("locked", 0) in wave)


def test_a_statement_that_takes_too_long_finds_its_size_and_grows_again() -> None:
    listener = MemoryListener()
    listener.handler.fast_max = 60
    keys = [f"key-{number}" for number in range(200)]
    for number in range(20):
        for key in keys:
            listener.ask(key, number)
    listener.turn(60)
    assert listener.told == {key: list(range(20)) for key in keys}
    failed = sum(size > 60 for size in listener.handler.sizes)
    assert failed < len(listener.handler.sizes) / 3, "time-outs are expensive"
    assert sum(size >= 25 for size in listener.handler.sizes) > 40

    listener.handler.fast_max = 500
    for number in range(20, 40):
        for key in keys:
            listener.ask(key, number)
    listener.turn(60)
    assert max(listener.handler.sizes) > 2 * 60
    assert listener.dead == []


def test_a_hundred_records_that_meet_a_lock_wait_for_it_once_in_a_turn() -> None:
    """Each wait costs seconds: a hundred of them would keep every other record waiting."""
    listener = MemoryListener(database=MemoryDatabase())
    for number in range(100):
        listener.ask(f"locked-{number}", 0, behaviour="locked")
    listener.turn(60)
    before = len(listener.handler.waves)

    # All of them are due at once, and a good one comes.
    listener.clock.advance(10)
    listener.ask("good", 0)
    listener.turn(2)
    assert listener.told["good"] == [0]
    assert len(listener.handler.waves) - before <= 4
