"""
Waves: one record of a key, halved when they fail, one record when they probe; and who is charged an
attempt.
"""

from __future__ import annotations

from itertools import pairwise

from tests.support.memory_listener import MemoryListener, attempts

from orderflow.messaging.listener import RetryPolicy

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
    listener.turn(200)
    assert any("it fails for every record" in reason for reason in listener.reasons())
    assert listener.dead == []
    probes = [wave[0] for wave in listener.handler.waves[-10:]]
    assert len(set(probes)) == 10, "a probe takes another record each time"

    listener.handler.broken = False
    listener.run()
    assert listener.dead == []
    assert listener.told == {key: [0] for key in keys}
    assert listener.reasons() == []
