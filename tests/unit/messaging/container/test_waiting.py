"""
What waits, waits in place: it holds its key and nothing else, and survives a restart beside the
committed offset.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support.memory_listener import ASKED, DLT, GROUP, MemoryListener, attempts
from tests.support.probe_language import Ignored

from orderflow.messaging.kafka import finished_offsets
from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.testing.memory_database import MemoryDatabase

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = RetryPolicy(back_off_s=(60.0, 60.0))


def waiting(database: MemoryDatabase | None = None) -> MemoryListener:
    """
    `b` 0 has failed and waits for a minute; everything else that was asked is finished and
    committed.
    """
    listener = MemoryListener(retry=LATER, database=database)
    listener.ask("b", 0, behaviour="fail")
    listener.ask("b", 1)
    for number in range(3):
        for key in "acdefgh":
            listener.ask(key, number)
    listener.turn(6)
    return listener


@pytest.mark.parametrize("with_database", [False, True])
def test_a_record_that_waits_holds_its_key_and_all_others_pass(*, with_database: bool) -> None:
    listener = waiting(MemoryDatabase() if with_database else None)
    assert listener.told == {key: [0, 1, 2] for key in "acdefgh"}
    assert not listener.is_finished("b", 0)
    assert not listener.is_finished("b", 1)
    assert all(listener.is_finished(key, number) for key in "acdefgh" for number in range(3))


@pytest.mark.parametrize("with_database", [False, True])
def test_the_lowest_unfinished_offset_is_committed_with_the_finished_ones_above_it(
    *, with_database: bool
) -> None:
    listener = waiting(MemoryDatabase() if with_database else None)
    message = listener.message("b", 0)
    window = listener.committed(message)
    assert window.base == message.offset()
    assert window.end > window.base + 2


@pytest.mark.parametrize("with_database", [False, True])
def test_after_a_restart_only_what_waited_runs_again(*, with_database: bool) -> None:
    listener = waiting(MemoryDatabase() if with_database else None)
    listener.handler.waves.clear()
    listener.workers[0].restart()
    listener.turn(4)
    assert {record for wave in listener.handler.waves for record in wave} == {("b", 0)}


def test_back_offs_are_as_long_as_the_policy_says_and_attempts_end_in_a_dead_letter() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(2.0, 30.0)))
    listener.ask("a", 0, behaviour="fail")
    listener.ask("a", 1)
    times = []
    while not listener.dead:
        before = len(listener.handler.waves)
        listener.turn()
        if len(listener.handler.waves) > before:
            times.append(listener.clock.monotonic())
    first, second = times[1] - times[0], times[2] - times[1]
    assert 1.5 < first < 3
    assert 23 < second < 37
    listener.run()
    assert listener.told == {"a": [1]}
    assert attempts(listener.dead[0]) == 3


def test_a_record_that_nobody_can_read_is_a_dead_letter_byte_for_byte() -> None:
    listener = MemoryListener()
    listener.bus.append([(ASKED.name, b"a", b"\x00junk", [("x", b"y")])])
    listener.ask("a", 1)
    listener.run()
    (letter,) = listener.bus.records(DLT)
    assert (letter.key(), letter.value(), letter.headers()[0]) == (b"a", b"\x00junk", ("x", b"y"))
    assert attempts(letter) == 0
    assert listener.told == {"a": [1]}


@pytest.mark.parametrize("with_database", [False, True])
def test_a_type_that_nothing_handles_is_skipped_and_its_offset_committed(
    *, with_database: bool
) -> None:
    listener = MemoryListener(database=MemoryDatabase() if with_database else None)
    listener.bus.publish(ASKED.name, Ignored(id="a", number=7, at=MOMENT))
    listener.turn(3)
    assert listener.handler.waves == []
    assert listener.is_finished("a", 7)


@pytest.mark.parametrize("with_database", [False, True])
def test_an_event_that_is_not_wanted_is_skipped_and_its_offset_committed(
    *, with_database: bool
) -> None:
    database = MemoryDatabase() if with_database else None
    listener = MemoryListener(database=database, wanted=lambda event: event.number % 2 == 0)
    listener.ask("a", 0, 1, 2, 3)
    listener.ask("b", 1)
    listener.run()
    assert listener.handler.waves == [[("a", 0)], [("a", 2)]]
    assert listener.is_finished("a", 3)
    assert listener.is_finished("b", 1)
    assert len({} if database is None else database.inbox) == (2 if with_database else 0)


def test_what_is_not_wanted_waits_behind_an_earlier_record_of_its_key() -> None:
    retry = RetryPolicy(back_off_s=(60.0,))
    listener = MemoryListener(retry=retry, wanted=lambda event: event.number != 1)
    listener.ask("a", 0, behaviour="fail")
    listener.ask("a", 1)
    listener.turn(3)
    assert not listener.is_finished("a", 1)


def test_the_handler_judges_an_event_for_which_the_predicate_raises() -> None:
    listener = MemoryListener(wanted=lambda event: 1 // event.number > 0)
    listener.ask("a", 0, 1, 2)
    listener.run()
    assert listener.handler.waves == [[("a", 0)], [("a", 1)]]


def test_the_body_of_a_type_that_nothing_handles_is_not_read() -> None:
    listener = MemoryListener()
    listener.bus.publish(ASKED.name, Ignored(id="a", number=7, at=MOMENT))
    (ignored,) = listener.bus.records(ASKED.name)
    cut = (ignored.value() or b"")[:-1]
    listener.bus.append([(ASKED.name, b"b", cut, ignored.headers())])
    listener.run()
    assert listener.dead == []
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0


def test_a_registry_that_is_away_stops_only_schemas_not_met_before() -> None:
    listener = MemoryListener()
    listener.ask("a", 0)
    listener.run()
    listener.bus.registry.available = False
    listener.bus.publish(ASKED.name, Ignored(id="b", number=0, at=MOMENT))
    listener.ask("a", 1)
    listener.turn(3)
    assert any("registry" in reason for reason in listener.reasons())
    assert listener.handler.waves == [[("a", 0)], [("a", 1)]]
    assert listener.dead == []
    listener.bus.registry.available = True
    listener.run()
    assert listener.reasons() == []
    assert listener.is_finished("b", 0)


def test_a_partition_with_too_much_unfinished_is_paused_and_goes_on_later() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(60.0,)))
    listener.ask("a", 0, behaviour="fail")
    listener.ask("a", *range(1, 2_300))
    listener.turn(12)
    place = listener.message("a", 0)
    partition = listener.workers[0].client.partitions[place.topic(), place.partition()]
    assert partition.paused
    assert len(partition.unfinished) < 2_000
    assert listener.committed(place).base == place.offset()
    listener.run()
    assert listener.told == {"a": list(range(1, 2_300))}


@pytest.mark.parametrize("with_database", [False, True])
def test_one_record_that_waits_stops_no_other_however_small_the_window_is(
    monkeypatch: pytest.MonkeyPatch, *, with_database: bool
) -> None:
    """With room for some ten unfinished records, hundreds pass the one that waits."""
    monkeypatch.setattr(finished_offsets, "BODY_BYTES_MAX", 24)
    listener = MemoryListener(
        database=MemoryDatabase() if with_database else None,
        retry=RetryPolicy(back_off_s=(3_600.0, 3_600.0)),
    )
    listener.ask("a", 0, behaviour="fail")
    listener.turn(3)
    for number in range(100):
        for key in "bcdefgh":
            listener.ask(key, number)
    listener.turn(200)
    assert listener.told == {key: list(range(100)) for key in "bcdefgh"}
    assert not listener.is_finished("a", 0)
