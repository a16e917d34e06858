"""
Waves: one record of a key, halved when they fail, one record when they probe; and who is charged an
attempt.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.support.memory_listener import MemoryListener, attempts

from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.testing.memory_database import MemoryDatabase

KEYS = [f"key-{number}" for number in range(8)]


def test_a_wave_has_one_record_of_each_key_and_the_next_ones_follow_in_the_same_turn() -> None:
    listener = MemoryListener()
    for key in KEYS:
        listener.ask(key, 0, 1)
    listener.turn(2)
    assert listener.handler.sizes == [8, 8]
    assert listener.told == {key: [0, 1] for key in KEYS}


def test_a_wave_that_fails_is_halved_until_the_record_that_fails_alone_is_found() -> None:
    listener = MemoryListener()
    for key in KEYS[:7]:
        listener.ask(key, 0)
    listener.ask(KEYS[7], 0, behaviour="fail")
    listener.turn(2)
    assert listener.handler.sizes[:2] == [8, 4]
    assert listener.told == {key: [0] for key in KEYS[:7]}
    assert [KEYS[7], 0] in [list(wave[0]) for wave in listener.handler.waves if len(wave) == 1]


def test_only_the_record_that_fails_alone_is_charged_and_its_neighbours_stay() -> None:
    listener = MemoryListener()
    for key in KEYS[:7]:
        listener.ask(key, 0)
    listener.ask(KEYS[7], 0, behaviour="fail")
    listener.run()
    alone = [wave for wave in listener.handler.waves if wave == [(KEYS[7], 0)]]
    assert len(alone) == 3
    assert listener.told == {key: [0] for key in KEYS[:7]}
    (letter,) = listener.dead
    assert (letter.key(), attempts(letter)) == (KEYS[7].encode(), 3)


def test_a_record_that_failed_alone_never_shares_a_wave_again() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(1.0,)))
    listener.ask("bad", 0, behaviour="fail")
    listener.turn(2)
    for key in KEYS:
        listener.ask(key, 0)
    listener.clock.advance(2)
    listener.run()
    assert all(len(wave) == 1 for wave in listener.handler.waves if ("bad", 0) in wave)
    assert listener.told == {key: [0] for key in KEYS}


def test_waves_double_after_each_success() -> None:
    listener = MemoryListener()
    for key in KEYS[:7]:
        listener.ask(key, 0)
    listener.ask(KEYS[7], 0, behaviour="dead")
    listener.turn(2)
    for key in [f"more-{number}" for number in range(40)]:
        listener.ask(key, 0)
    before = len(listener.handler.waves)
    listener.turn(2)
    sizes = listener.handler.sizes[before:]
    assert sum(sizes) == 40
    assert all(later == 2 * earlier for earlier, later in pairwise(sizes[:-1]))


def test_a_record_that_its_handler_calls_poison_is_a_dead_letter_at_once() -> None:
    listener = MemoryListener()
    listener.ask("a", 0, behaviour="dead")
    listener.ask("a", 1)
    listener.turn(3)
    (letter,) = listener.dead
    assert attempts(letter) == 1
    assert listener.told == {"a": [1]}


def test_any_number_of_poison_records_makes_nobody_suspect_the_handler() -> None:
    listener = MemoryListener()
    for number in range(30):
        listener.ask(f"key-{number}", 0, behaviour="dead")
    listener.ask("bad", 0, behaviour="fail")
    listener.turn(4)
    assert len(listener.dead) == 30
    assert not any("handler" in reason for reason in listener.reasons())


def test_a_handler_that_fails_for_every_record_makes_no_dead_letters_and_says_so() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(600.0, 600.0)))
    listener.handler.broken = True
    keys = [f"key-{number}" for number in range(60)]
    for key in keys:
        listener.ask(key, 0)
    listener.turn(100)
    assert any("it fails for every record" in reason for reason in listener.reasons())
    assert listener.dead == []
    probes = [wave[0] for wave in listener.handler.waves[-20:]]
    assert len(set(probes)) == 20, "probes take other records each time"
    # 0.1 s doubled up to 5 s, in 25 s.
    assert len(listener.handler.waves) < 300

    listener.handler.broken = False
    listener.run()
    assert listener.dead == []
    assert listener.told == {key: [0] for key in keys}
    assert listener.reasons() == []


def test_a_good_record_between_bad_ones_passes_within_seconds_and_ends_the_suspicion() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(600.0, 600.0)))
    for number in range(60):
        listener.ask(f"bad-{number}", 0, behaviour="fail")
    listener.turn(20)
    assert any("it fails for every record" in reason for reason in listener.reasons())

    listener.ask("good", 0)
    began = listener.clock.monotonic()
    while not listener.told:
        listener.turn()
    assert listener.clock.monotonic() - began < 15
    assert listener.reasons() == []


def test_what_arrives_while_the_handler_is_suspected_is_still_fetched() -> None:
    listener = MemoryListener()
    listener.handler.broken = True
    for number in range(30):
        listener.ask(f"bad-{number}", 0, behaviour="fail")
    listener.turn(20)
    assert not any(p.paused for p in listener.workers[0].client.partitions.values())


def test_attempts_of_failing_records_are_charged_while_others_succeed() -> None:
    listener = MemoryListener()
    for number in range(40):
        listener.ask(f"bad-{number}", 0, behaviour="fail")
    for number in range(400):
        listener.ask(f"good-{number}", 0)
        listener.turn()
    assert len(listener.told) == 400
    assert len(listener.dead) == 40
    assert {attempts(letter) for letter in listener.dead} == {3}


def test_one_key_that_fails_again_and_again_makes_nobody_suspect_the_handler() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(1.0, 1.0)))
    listener.ask("bad", *range(12), behaviour="fail")
    listener.run()
    assert len(listener.dead) == 12
    assert {attempts(letter) for letter in listener.dead} == {3}


@pytest.mark.parametrize("with_database", [False, True])
def test_any_number_of_record_faults_stops_nobody_and_ends_in_dead_letters(
    *, with_database: bool
) -> None:
    listener = MemoryListener(database=MemoryDatabase() if with_database else None)
    for number in range(40):
        listener.ask(f"bad-{number}", 0, behaviour="fault")
    listener.ask("good", 0)
    began = listener.clock.monotonic()
    while not listener.told:
        listener.turn()
        assert listener.reasons() == []
    assert listener.clock.monotonic() - began < 10

    listener.run()
    assert len(listener.dead) == 40
    assert {attempts(letter) for letter in listener.dead} == {3}
    assert listener.clock.monotonic() - began < 120


def test_a_record_fault_is_charged_although_the_handler_is_suspected() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(1.0,)))
    for number in range(30):
        listener.ask(f"bad-{number}", 0, behaviour="fail")
    listener.turn(20)
    assert any("it fails for every record" in reason for reason in listener.reasons())
    listener.ask("fault", 0, behaviour="fault")
    listener.turn(200)
    assert [letter.key() for letter in listener.dead] == [b"fault"]
