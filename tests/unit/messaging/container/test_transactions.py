"""
Exactly once: answers, dead letters and offsets become visible together, or nothing of them,
whatever happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support import memory_listener
from tests.support.memory_listener import ASKED, DLT, GROUP, TOLD, MemoryListener, attempts
from tests.support.probe_language import Asked, Told

from orderflow.messaging.container.client.kafka_client import Windows
from orderflow.messaging.errors import Fenced
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.testing.bus import Fault
from orderflow.messaging.testing.memory_database import MemoryDatabase

AT_ONCE = RetryPolicy(back_off_s=())


def once_each(listener: MemoryListener) -> bool:
    """Every record that was asked has one answer, and no more."""
    asked = {str(record.metadata.id) for record in listener.bus.records(ASKED.name)}
    return Counter(listener.causes) == Counter(asked)


def test_an_aborted_turn_leaves_nothing_and_its_records_come_first_again_in_order() -> None:
    listener = MemoryListener()
    listener.turn()
    for key in "abc":
        listener.ask(key, 0, 1)
    listener.plan(Fault.ABORTED)
    listener.turn()
    assert len(listener.handler.waves) == 2
    assert (listener.told, listener.broker.groups[GROUP].committed) == ({}, {})

    aborted = [record for wave in listener.handler.waves for record in wave]
    listener.run()
    again = [record for wave in listener.handler.waves[2:] for record in wave]
    assert again == aborted
    assert listener.told == {key: [0, 1] for key in "abc"}
    assert once_each(listener)


def test_an_abort_charges_nobody_and_seeks_nothing() -> None:
    listener = MemoryListener()
    listener.turn()
    listener.ask("a", 0)
    positions = listener.workers[0].client._positions
    listener.plan(*[Fault.ABORTED] * 10)
    listener.turn()
    after_fetch = dict(positions)
    listener.turn(200)
    assert {place: positions[place] >= at for place, at in after_fetch.items()} == dict.fromkeys(
        after_fetch, True
    )
    assert listener.dead == []
    assert listener.told == {"a": [0]}
    assert set(listener.handler.sizes) == {1}


def test_records_fetched_after_an_abort_stay_behind_those_that_were_put_back() -> None:
    listener = MemoryListener()
    listener.turn()
    listener.ask("a", 0)
    listener.plan(Fault.ABORTED)
    listener.turn()
    listener.ask("a", 1, 2)
    listener.run()
    assert listener.told == {"a": [0, 1, 2]}


@pytest.mark.parametrize(
    "fault", [Fault.COMMITTED_UNANSWERED, Fault.ABORTED_UNANSWERED, Fault.TIMED_OUT]
)
def test_after_an_unknown_outcome_what_is_committed_decides(fault: Fault) -> None:
    listener = MemoryListener()
    listener.turn()
    for key in "abcdef":
        listener.ask(key, 0, 1)
    listener.plan(fault)
    listener.run()
    assert listener.told == {key: [0, 1] for key in "abcdef"}
    assert once_each(listener)
    computed_again = len(listener.handler.waves) > 2
    assert computed_again == (fault is not Fault.COMMITTED_UNANSWERED)


def test_records_whose_commit_was_answered_and_then_undone_are_read_again() -> None:
    """See `kafka.transactions`: the broker stopped before it had written the markers."""
    listener = MemoryListener()
    listener.turn()
    listener.ask("a", 0)
    listener.plan(Fault.UNDONE)
    listener.turn(3)
    assert listener.told == {}
    listener.ask("a", 1)
    listener.ask("b", 0)
    listener.run()
    assert listener.told == {"a": [0, 1], "b": [0]}


def test_a_producer_that_is_lost_again_and_again_is_slow_and_seen() -> None:
    listener = MemoryListener()
    listener.turn()
    listener.ask("a", 0)
    listener.plan(*[Fault.ABORTED_UNANSWERED] * 5)
    listener.turn()
    assert "answer is lost" in listener.reasons()[0]
    began = listener.clock.monotonic()
    listener.run()
    assert listener.clock.monotonic() - began > 3.0
    assert once_each(listener)
    assert listener.reasons() == []


def test_after_an_unknown_outcome_what_waited_still_waits_and_what_was_finished_stays_so() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(60.0,)))
    listener.ask("a", 0, behaviour="fail")
    for key in "bcdef":
        listener.ask(key, 0)
    listener.turn(3)
    listener.handler.waves.clear()
    listener.ask("g", 0)
    listener.plan(Fault.ABORTED_UNANSWERED)
    listener.turn(3)
    handled = {record for wave in listener.handler.waves for record in wave}
    assert handled == {("a", 0), ("g", 0)}
    listener.run()
    assert listener.told == {key: [0] for key in "bcdefg"}


def test_a_worker_whose_transactions_the_broker_times_out_again_and_again_goes_on() -> None:
    listener = MemoryListener()
    listener.turn()
    for number in range(3):
        listener.ask("a", number)
        listener.plan(Fault.TIMED_OUT, Fault.TIMED_OUT)
        listener.run()
    assert listener.told == {"a": [0, 1, 2]}


def test_the_older_of_two_workers_in_one_slot_ends_and_publishes_nothing() -> None:
    listener = MemoryListener()
    listener.turn()
    older = listener.workers[0].container
    listener.workers[0].restart()
    listener.ask("a", 0)
    with pytest.raises(Fenced):
        older.turn()
    listener.run()
    assert once_each(listener)


def test_a_member_that_was_expelled_puts_back_and_commits_nothing_until_it_is_one_again() -> None:
    listener = MemoryListener()
    listener.turn()
    listener.ask("a", 0)
    compute = listener.handler._behave
    listener.handler._behave = lambda event: (  # type: ignore[method-assign]
        listener.workers[0].client.expel(),  # type: ignore[func-returns-value]
        compute(event),
    )[1]
    listener.turn()
    assert [listener.broker.end(place) for place in listener.broker.places([TOLD.name])] == [0] * 3
    del listener.handler._behave
    listener.run()
    assert once_each(listener)


@pytest.mark.parametrize("with_database", [False, True])
def test_good_records_are_committed_while_no_letter_can_be_written(*, with_database: bool) -> None:
    listener = MemoryListener(retry=AT_ONCE, database=MemoryDatabase() if with_database else None)
    listener.turn()
    listener.broker.refused_topics.add(DLT)
    for key in "abc":
        listener.ask(key, 0, behaviour="dead")
        listener.ask(key, 1)
    listener.turn(20)
    listener.ask("d", 0)
    listener.turn(20)
    assert listener.told == {"a": [1], "b": [1], "c": [1], "d": [0]}
    assert all(listener.is_finished(key, 1) for key in "abc")
    assert not any(listener.is_finished(key, 0) for key in "abc")
    assert listener.dead == []
    assert DLT in listener.reasons()[0]

    listener.broker.refused_topics.clear()
    listener.run()
    assert sorted(letter.key() or b"" for letter in listener.dead) == [b"a", b"b", b"c"]
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0
    assert listener.reasons() == []


def test_a_record_far_beyond_the_producers_limit_is_over_with_a_letter_that_fits() -> None:
    listener = MemoryListener()
    listener.bus.append([(ASKED.name, b"a", bytes(10 * 1024 * 1024), [("x", b"y")])])
    listener.ask("a", 1)
    listener.run()
    (letter,) = listener.dead
    assert len(letter.value() or b"") < 2 * 1024 * 1024
    assert dict(letter.headers())["orderflow-letter-cut"] == b"value"
    assert listener.told == {"a": [1]}


def test_a_letter_that_waits_to_be_written_is_made_again_after_a_restart() -> None:
    listener = MemoryListener(retry=AT_ONCE)
    listener.turn()
    listener.broker.refused_topics.add(DLT)
    listener.ask("a", 0, behaviour="dead")
    listener.ask("b", 0)
    listener.turn(20)
    listener.workers[0].stop()
    listener.broker.refused_topics.clear()
    listener.run()
    assert len(listener.dead) == 1
    assert listener.told == {"b": [0]}


def test_a_dead_letter_is_published_with_its_offset_or_not_at_all() -> None:
    listener = MemoryListener(retry=AT_ONCE)
    listener.turn()
    listener.ask("a", 0, behaviour="fail")
    listener.ask("a", 1)
    listener.plan(Fault.ABORTED)
    listener.turn()
    assert (listener.dead, listener.broker.groups[GROUP].committed) == ([], {})
    listener.turn(2)
    assert len(listener.dead) == 1
    assert listener.is_finished("a", 0)
    listener.run()
    assert len(listener.bus.records(DLT)) == 1
    assert listener.told == {"a": [1]}


@pytest.mark.parametrize("with_database", [False, True])
def test_a_dead_letter_of_a_partition_that_was_lost_is_left_to_its_next_owner(
    *, with_database: bool
) -> None:
    listener = MemoryListener(retry=AT_ONCE, database=MemoryDatabase() if with_database else None)
    listener.turn()
    listener.ask("a", 0, behaviour="fail")
    listener.plan(Fault.ABORTED)
    listener.turn()
    listener.workers[0].client.expel()
    listener.run()
    assert len(listener.dead) == 1
    assert len(listener.handler.waves) == 2


def test_idle_lag_is_0_although_markers_follow_the_last_record() -> None:
    listener = MemoryListener()
    records = [
        (m.topic(), m.key(), m.value(), m.headers())
        for m in (listener.message("a", 0) for _ in listener.ask("a", 0))
    ]
    listener.broker.append(records, marked=True)
    listener.turn(3)
    assert listener.broker.lag(GROUP, [ASKED.name]) > 0
    listener.turn(10)
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0


def test_the_end_is_not_committed_over_a_record_that_waits() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(60.0,)))
    listener.ask("a", 0, behaviour="fail")
    message = listener.message("a", 0)
    listener.broker.append_aborted([(ASKED.name, b"a", b"", [])])
    listener.turn(20)
    assert not listener.is_finished("a", 0)
    assert listener.committed(message).base == message.offset()


def test_a_commit_is_followed_by_a_rest_so_that_load_makes_batches_larger() -> None:
    listener = MemoryListener()
    listener.turn()
    listener.ask("a", 0)
    listener.turn()
    listener.ask("b", 0)
    listener.workers[0].turn()
    assert listener.told == {"a": [0]}
    listener.clock.advance(0.02)
    listener.workers[0].turn()
    assert listener.told == {"a": [0], "b": [0]}


def test_a_record_whose_output_is_refused_for_good_is_a_dead_letter_and_all_others_commit() -> None:
    listener = MemoryListener()
    listener.turn()
    keys = [f"key-{number}" for number in range(100)]
    for key in [*keys[:70], "bad", *keys[70:]]:
        listener.ask(key, 0, 1)
    listener.broker.refused_keys.add((TOLD.name, b"bad"))
    listener.turn(60)
    assert listener.told == {key: [0, 1] for key in keys}
    assert listener.dead == []
    assert listener.reasons() == []

    listener.run()
    assert [(letter.key(), attempts(letter)) for letter in listener.dead] == [(b"bad", 3)] * 2
    assert listener.told == {key: [0, 1] for key in keys}
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0


def test_a_record_whose_output_was_refused_shares_no_transaction_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(1.0, 1.0, 1.0)))
    listener.turn()
    listener.ask("bad", 0)
    listener.broker.refused_keys.add((TOLD.name, b"bad"))
    listener.turn(4)
    transact, transactions = listener.workers[0].client.transact, []

    def noted(records: Sequence[Produced], windows: Windows, placed: Any = ()) -> Any:
        transactions.append([(topic, key) for topic, key, *_ in records])
        return transact(records, windows, placed)

    monkeypatch.setattr(listener.workers[0].client, "transact", noted)
    for number in range(60):
        listener.ask(f"key-{number}", 0)
        listener.turn()
    listener.run()
    refused = (TOLD.name, b"bad")
    assert [records for records in transactions if refused in records] == [[refused]] * 3
    assert len(listener.told) == 60
    assert len(listener.dead) == 1


@pytest.mark.parametrize("with_database", [False, True])
def test_an_output_too_large_with_its_key_and_headers_is_its_records_own_failure(
    monkeypatch: pytest.MonkeyPatch, *, with_database: bool
) -> None:
    def answer(event: Asked) -> Told:
        key = "k" * 600_000 if event.id == "a" else event.id
        return Told(id=key, number=event.number, behaviour="", at=event.at)

    monkeypatch.setattr(memory_listener, "_answer", answer)
    listener = MemoryListener(retry=AT_ONCE, database=MemoryDatabase() if with_database else None)
    listener.ask("a", 0)
    listener.ask("b", 0)
    listener.run()
    (letter,) = listener.dead
    assert letter.key() == b"a"
    assert b"does not fit" in (dict(letter.headers())["kafka_dlt-exception-message"] or b"")
    assert listener.told == {"b": [0]}


def test_a_topic_that_is_refused_is_waited_for_and_no_record_is_charged() -> None:
    listener = MemoryListener()
    listener.turn()
    listener.broker.refused_topics.add(TOLD.name)
    for key in "abc":
        listener.ask(key, 0)
    listener.turn(200)
    assert TOLD.name in listener.reasons()[0]
    assert (listener.told, listener.dead) == ({}, [])
    listener.broker.refused_topics.clear()
    listener.run()
    assert listener.told == {key: [0] for key in "abc"}
    assert listener.dead == []


def test_a_broker_that_refuses_every_output_makes_no_flood_of_dead_letters() -> None:
    listener = MemoryListener()
    listener.turn()
    keys = [f"key-{number}" for number in range(40)]
    listener.broker.refused_keys.update((TOLD.name, key.encode()) for key in keys)
    for key in keys:
        listener.ask(key, 0)
    listener.turn(400)
    assert listener.dead == []
    assert "refuses the outputs of every record" in listener.reasons()[0]
    listener.broker.refused_keys.clear()
    listener.run()
    assert listener.told == {key: [0] for key in keys}
    assert listener.dead == []
