"""
Inbox and outbox: effects commit with their inbox rows, offsets follow, dead letters take a
transaction.
"""

from __future__ import annotations

import pytest
from tests.support.memory_listener import ASKED, DLT, GROUP, MemoryListener
from tests.support.probe_language import catalogue

from orderflow.messaging.container.deliveries.transaction import ANSWER_POLL_S
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.testing.bus import Bus, Fault, Faults
from orderflow.messaging.testing.memory_database import MemoryDatabase


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def effects(database: MemoryDatabase) -> list[tuple[str, int]]:
    return [parameters for _query, parameters in database.effects]


def test_effect_inbox_and_outbox_are_there_together(database: MemoryDatabase) -> None:
    listener = MemoryListener(database=database)
    for key in "abc":
        listener.ask(key, 0, 1)
    listener.run()
    assert sorted(effects(database)) == [(key, number) for key in "abc" for number in (0, 1)]
    assert (len(database.inbox), len(database.outbox)) == (6, 6)
    assert listener.told == {key: [0, 1] for key in "abc"}


def test_a_repeat_does_not_reach_the_handler_and_its_offset_is_committed(
    database: MemoryDatabase,
) -> None:
    listener = MemoryListener(database=database)
    listener.ask("a", 0)
    listener.run()
    first = listener.message("a", 0)
    listener.broker.append([(ASKED.name, first.key(), first.value(), first.headers())])
    listener.run()
    assert effects(database) == [("a", 0)]
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0


def test_what_was_done_before_a_crash_and_not_committed_is_absorbed(
    database: MemoryDatabase,
) -> None:
    listener = MemoryListener(database=database)
    listener.turn()
    listener.ask("a", 0, 1)
    listener.plan(Fault.COMMIT_REFUSED)
    listener.turn()
    assert len(effects(database)) == 2
    assert listener.broker.groups[GROUP].committed == {}
    listener.workers[0].restart()
    listener.run()
    assert effects(database) == [("a", 0), ("a", 1)]


def test_a_transaction_that_is_rolled_back_leaves_nothing_and_charges_nobody(
    database: MemoryDatabase,
) -> None:
    listener = MemoryListener(database=database, faults=Faults(abort=0.5, wave_max=3), seed=4)
    for key in "abcdef":
        listener.ask(key, *range(4))
    listener.run()
    assert sorted(effects(database)) == [(key, number) for key in "abcdef" for number in range(4)]
    assert listener.dead == []


def test_offsets_that_are_refused_are_committed_with_the_next(database: MemoryDatabase) -> None:
    listener = MemoryListener(database=database)
    listener.turn()
    listener.ask("a", 0)
    listener.plan(Fault.COMMIT_REFUSED)
    listener.turn(2)
    assert listener.broker.groups[GROUP].committed == {}
    assert any("offsets" in reason for reason in listener.reasons())
    listener.turn(8)
    assert listener.is_finished("a", 0)
    assert listener.reasons() == []
    assert effects(database) == [("a", 0)]


def test_a_dead_letter_waits_for_the_answer_to_a_plain_commit(database: MemoryDatabase) -> None:
    """The client in memory refuses a transaction while a plain commit is on its way."""
    listener = MemoryListener(database=database, retry=RetryPolicy(back_off_s=(1.0,)))
    listener.turn()
    listener.ask("a", 0, behaviour="fail")
    for key in "bcdefg":
        listener.ask(key, 0)
    listener.turn()
    assert listener.workers[0].client.committing
    listener.broker.away = True
    listener.turn(8)
    assert len([wave for wave in listener.handler.waves if wave == [("a", 0)]]) == 2
    wait_s = listener.workers[0].client.wakes_at - listener.clock.monotonic()
    assert wait_s > ANSWER_POLL_S / 2, "the answer comes with a poll: no need to spin"
    listener.broker.away = False
    listener.run()
    assert len(listener.bus.records(DLT)) == 1
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0


def test_a_dead_letter_whose_transaction_is_aborted_is_published_once_with_the_next(
    database: MemoryDatabase,
) -> None:
    listener = MemoryListener(database=database, retry=RetryPolicy(back_off_s=()))
    listener.turn()
    listener.ask("a", 0, behaviour="fail")
    listener.ask("b", 0)
    listener.plan(Fault.ABORTED, Fault.ABORTED)
    listener.run()
    assert len(listener.bus.records(DLT)) == 1
    assert effects(database) == [("b", 0)]
    assert listener.told == {"b": [0]}


def test_before_a_revocation_finished_offsets_are_committed(database: MemoryDatabase) -> None:
    listener = MemoryListener(database=database, workers=2)
    listener.workers[1].stop()
    listener.turn(2)
    for number in range(2):
        for key in "abcdefgh":
            listener.ask(key, number)
        # The second time it is too early for another plain commit, and time for another wave.
        listener.clock.advance(0.05)
        listener.workers[0].turn()
    assert len(effects(database)) == 16
    assert not all(listener.is_finished(key, 1) for key in "abcdefgh")

    listener.workers[1].restart()
    listener.workers[0].turn()
    kept = listener.workers[0].client.partitions
    last = [listener.message(key, 1) for key in "abcdefgh"]
    revoked = [record for record in last if (record.topic(), record.partition()) not in kept]
    assert revoked
    assert all(listener.committed(record).is_finished(record.offset()) for record in revoked)


def test_what_comes_soon_after_a_wave_is_handled_together(database: MemoryDatabase) -> None:
    """A transaction for each record would cost the database more than its work."""
    listener = MemoryListener(database=database)
    worker = listener.workers[0]
    listener.turn()
    listener.ask("a", 0)
    listener.turn()
    assert listener.handler.waves == [[("a", 0)]], "the first one at once"

    for key in "bcd":
        listener.ask(key, 0)
        worker.turn()
    assert len(listener.handler.waves) == 1
    assert worker.client.wakes_at > listener.clock.monotonic(), "no poll returns for each of them"
    listener.clock.advance(worker.container._settings.database_rests_s[0])
    worker.turn()
    assert [sorted(wave) for wave in listener.handler.waves[1:]] == [[("b", 0), ("c", 0), ("d", 0)]]


def test_as_many_as_a_wave_takes_end_the_rest(database: MemoryDatabase) -> None:
    listener = MemoryListener(database=database, faults=Faults(wave_max=3))
    listener.turn()
    listener.ask("a", 0)
    listener.turn()
    for key in "bcd":
        listener.ask(key, 0)
    listener.workers[0].turn()
    assert len(effects(database)) == 4


def test_a_database_that_is_probed_does_not_wait_for_the_rest(database: MemoryDatabase) -> None:
    listener = MemoryListener(database=database)
    listener.turn()
    listener.ask("a", 0)
    listener.turn()
    database.away = True
    listener.ask("b", 0)
    listener.clock.advance(1.0)
    listener.workers[0].turn()
    database.away = False
    listener.clock.advance(1.0)
    listener.workers[0].turn()
    assert effects(database) == [("a", 0), ("b", 0)]


def test_a_listener_with_an_inbox_needs_a_database() -> None:
    listener = MemoryListener(database=MemoryDatabase()).listener
    with pytest.raises(ConfigurationError, match="database"):
        Bus((listener,), catalogue=catalogue("probe"))
