"""
The stage of `Prepare`: effects outside are intended, done and recorded before the handler announces
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.support.memory_listener import ASKED, GROUP, TOLD, MemoryListener, attempts

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.stages.prepare_stage import ENOUGH, REST_S
from orderflow.messaging.errors import ConfigurationError, Refused, Unavailable
from orderflow.messaging.listener import Ask, Received, RetryPolicy, Settled, Unknown
from orderflow.messaging.testing.bus import Fault
from orderflow.messaging.work.calls import Calls

Step = Settled | Ask | Unknown


class Charges:
    """
    Keeps each outcome by the record's id; `answers` and `errors` say how a call for a key ends.
    """

    def __init__(self) -> None:
        self.listener: MemoryListener | None = None
        self.recorded: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.intents: Counter[str] = Counter()
        self.batches: list[list[tuple[str, int]]] = []
        self.unknown_since: Callable[[], Any] | None = None
        self.errors: dict[str, Exception] = {}
        self.intent_errors: dict[str, Exception] = {}
        self.outcome_errors: dict[str, Exception] = {}

    def intent(self, batch: Sequence[Received]) -> list[Step]:
        _raise_first(self.intent_errors, batch)
        self.intents.update(received.event.id for received in batch)
        self.batches.append([(received.event.id, received.event.number) for received in batch])
        assert len({received.key for received in batch}) == len(batch), "two of one key"
        return [self._step(received) for received in batch]

    def call(self, task: str) -> str:
        self.calls[task] += 1
        if task in self.errors:
            raise self.errors[task]
        return "paid"

    def outcome(self, finished: Sequence[tuple[Received, Any, Any]]) -> list[Step]:
        _raise_first(self.outcome_errors, [received for received, _task, _answer in finished])
        for received, _task, answer in finished:
            if self.unknown_since is None:
                self.recorded[str(received.metadata.id)] = answer
        return [self._step(received) for received, _task, _answer in finished]

    def _step(self, received: Received) -> Step:
        if (outcome := self.recorded.get(str(received.metadata.id))) is not None:
            return Settled(outcome)
        if self.unknown_since is not None and self.calls[received.event.id]:
            return Unknown(self.unknown_since())
        return Ask(received.event.id)


def _raise_first(errors: dict[str, Exception], batch: Sequence[Received]) -> None:
    for received in batch:
        if received.event.id in errors:
            raise errors[received.event.id]


class ManualCalls(Calls[Record]):
    """Calls that end when the test says so."""

    pool: ManualCalls

    def __init__(self, call: Callable[[Any], Any], calls_max: int) -> None:
        super().__init__(call, calls_max)
        self.under_way: list[tuple[Record, Any]] = []
        type(self).pool = self

    def end_all(self) -> None:
        for record, task in self.under_way:
            self._finished.put(self._made(record, task))
        self.under_way = []

    def _start(self, item: Record, task: Any) -> None:
        self.under_way.append((item, task))


def charging(
    charges: Charges, retry: RetryPolicy | None = None, calls: type[Calls[Record]] | None = None
) -> MemoryListener:
    if calls is None:
        return MemoryListener(prepare=charges, retry=retry)
    return MemoryListener(prepare=charges, retry=retry, calls=calls)


def test_an_effect_is_done_once_and_then_announced() -> None:
    charges = Charges()
    listener = charging(charges)
    for key in "abc":
        listener.ask(key, 0)
    listener.run()
    assert charges.calls == Counter("abc")
    assert listener.told == {key: [0] for key in "abc"}


def test_a_key_never_has_two_calls_and_nobody_waits_for_the_slowest() -> None:
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    listener.ask("a", 0, 1, 2)
    listener.ask("b", 0)
    listener.turn(3)
    pool = ManualCalls.pool
    assert sorted(task for _record, task in pool.under_way) == ["a", "b"]

    slow, pool.under_way = pool.under_way[:1], pool.under_way[1:]
    pool.end_all()
    listener.turn(3)
    assert len(listener.told) == 1
    pool.under_way = slow
    for _ in range(10):
        pool.end_all()
        listener.turn()
    assert listener.told == {"a": [0, 1, 2], "b": [0]}


def test_records_of_one_key_in_two_partitions_are_two_batches_and_never_two_calls() -> None:
    """As when a dead letter comes back on the replay topic while its key's next record is there."""
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    listener.turn()
    listener.ask("a", 0)
    listener.replay("a", 1)
    listener.ask("b", 0)
    listener.turn(3)
    pool = ManualCalls.pool
    assert sorted(task for _record, task in pool.under_way) == ["a", "b"]
    assert charges.intents["a"] == 1, "the second is not even intended while the first is called"

    pool.end_all()
    listener.turn(2)
    assert (charges.intents["a"], charges.calls["a"]) == (2, 1)
    pool.end_all()
    listener.turn(3)
    assert sorted(listener.told["a"]) == [0, 1]


def test_a_call_begun_for_a_partition_that_was_lost_blocks_its_key_until_it_is_recorded() -> None:
    """The partition comes back to the same worker, which reads the record again."""
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    listener.ask("a", 0)
    listener.ask("b", 0)
    listener.turn(2)
    pool = ManualCalls.pool
    listener.workers[0].client.expel()
    listener.turn(4)
    assert charges.intents == Counter("ab"), "nothing of their keys is intended again"
    assert len(pool.under_way) == 2

    pool.end_all()
    listener.run()
    assert charges.calls == Counter("ab")
    assert listener.told == {"a": [0], "b": [0]}


def test_a_key_whose_outcome_is_not_recorded_yet_is_not_intended() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.outcome_errors["a"] = Unavailable("away", resource="database")
    listener.turn()
    listener.ask("a", 0)
    listener.replay("a", 1)
    listener.turn(6)
    assert charges.intents["a"] == 1
    charges.outcome_errors.clear()
    listener.run()
    assert sorted(listener.told["a"]) == [0, 1]


def test_records_that_wait_for_their_key_keep_their_order_and_hold_up_nobody() -> None:
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    listener.turn()
    listener.ask("a", 0)
    listener.turn(2)
    listener.replay("a", 1)
    listener.replay("c", 0)
    listener.turn(2)
    for number in range(6):
        listener.ask(f"b{number}", 0)
    listener.turn(3)
    waiting = {task for _record, task in ManualCalls.pool.under_way}
    assert waiting == {"a", "c", *(f"b{number}" for number in range(6))}


def test_the_next_record_of_a_key_is_not_begun_before_the_one_before_is_committed() -> None:
    charges = Charges()
    listener = charging(charges)
    listener.turn()
    listener.ask("a", 0, 1)
    listener.plan(Fault.ABORTED)
    listener.turn(3)
    assert charges.calls["a"] == 1
    listener.run()
    assert listener.told == {"a": [0, 1]}


def test_a_call_that_surely_did_nothing_closes_its_stage_and_is_made_again() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.errors["a"] = Unavailable("nobody there", resource="provider")
    listener.ask("a", 0)
    listener.turn(8)
    assert any("provider" in reason for reason in listener.reasons())
    assert charges.calls["a"] > 1
    charges.errors.clear()
    listener.run()
    assert (listener.told, listener.dead) == ({"a": [0]}, [])


def test_a_call_that_alone_finds_its_resource_away_does_not_keep_the_probes_for_itself() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.errors["a"] = Unavailable("no answer for this one", resource="provider")
    for key in "abcdef":
        listener.ask(key, 0)
    listener.turn(30)
    assert sorted(listener.told) == ["b", "c", "d", "e", "f"]
    charges.errors.clear()
    listener.run()
    assert (len(listener.told), listener.dead) == (6, [])


def test_a_call_that_alone_finds_its_resource_away_lets_those_be_called_that_come_later() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.errors["a"] = Unavailable("no answer for this one", resource="provider")
    listener.ask("a", 0)
    listener.turn(4)
    for number in range(50):
        listener.ask(f"key-{number}", 0)
    listener.turn(80)
    assert len(listener.told) == 50
    charges.errors.clear()
    listener.run()
    assert (len(listener.told), listener.dead) == (51, [])


def test_an_outcome_that_can_not_be_recorded_is_kept_and_no_effect_is_begun_meanwhile() -> None:
    charges = Charges()
    listener = MemoryListener(prepare=charges, calls_max=1)
    away = Unavailable("away", resource="database")
    charges.outcome_errors = {"a": away, "b": away}
    listener.ask("a", 0)
    listener.ask("b", 0)
    listener.turn(8)
    assert charges.calls.total() == 1
    charges.outcome_errors.clear()
    listener.run()
    assert charges.calls == Counter("ab")
    assert listener.told == {"a": [0], "b": [0]}


def test_a_database_that_is_away_for_intents_charges_nobody() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.intent_errors = dict.fromkeys("abc", Unavailable("away", resource="database"))
    for key in "abc":
        listener.ask(key, 0)
    listener.turn(5)
    assert charges.calls == Counter()
    charges.intent_errors.clear()
    listener.run()
    assert (sorted(listener.told), listener.dead) == (["a", "b", "c"], [])


@pytest.mark.parametrize("stage", ["intent_errors", "outcome_errors", "errors"])
def test_only_the_record_that_fails_alone_is_given_up_and_its_key_flows_on(stage: str) -> None:
    charges = Charges()
    listener = charging(charges, retry=RetryPolicy(back_off_s=(1.0,)))
    getattr(charges, stage)["b"] = ValueError("a fault of the service")
    for key in "abc":
        listener.ask(key, 0)
    listener.turn(2)
    listener.ask("b", 1)
    while not listener.dead:
        listener.turn()
    getattr(charges, stage).clear()
    listener.run()
    (letter,) = listener.dead
    assert (letter.key(), attempts(letter)) == (b"b", 2)
    assert listener.told == {"a": [0], "b": [1], "c": [0]}


def test_an_unknown_outcome_is_looked_up_for_an_hour_and_then_given_up() -> None:
    charges = Charges()
    listener = charging(charges)
    began = listener.clock.now()
    charges.unknown_since = lambda: began
    listener.ask("a", 0)
    listener.run()
    assert listener.clock.now() - began > timedelta(hours=1)
    assert len(listener.dead) == 1
    # 1 s, 2 s, 4 s … then every 30 s.
    assert 110 < charges.intents["a"] < 170
    assert charges.calls["a"] == 1


def test_an_unknown_outcome_that_becomes_known_is_announced() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.unknown_since = listener.clock.now
    (metadata,) = listener.ask("a", 0)
    listener.turn(8)
    assert listener.told == {}
    charges.recorded[str(metadata.id)] = "paid"
    listener.run()
    assert listener.told == {"a": [0]}


def test_what_was_done_for_a_partition_that_was_lost_is_recorded_and_announced_by_the_next() -> (
    None
):
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    (metadata,) = listener.ask("a", 0)
    listener.turn(2)
    listener.workers[0].client.expel()
    listener.turn()
    ManualCalls.pool.end_all()
    listener.turn()
    assert charges.recorded == {str(metadata.id): "paid"}
    listener.run()
    assert charges.calls["a"] == 1
    assert listener.told == {"a": [0]}


def test_after_an_unknown_commit_nothing_is_charged_again() -> None:
    charges = Charges()
    listener = charging(charges)
    listener.turn()
    listener.ask("a", 0)
    listener.plan(Fault.ABORTED_UNANSWERED)
    listener.run()
    assert charges.calls["a"] == 1
    assert listener.told == {"a": [0]}


def test_calls_that_run_when_the_worker_stops_are_waited_for_and_announced() -> None:
    charges = Charges()
    listener = charging(charges)
    listener.turn()
    listener.ask("a", 0, 1)
    listener.turn()
    listener.workers[0].stop()
    assert listener.told == {"a": [0]}
    assert charges.calls["a"] == 1


def test_what_is_queued_behind_a_record_is_shown_before_it_is_prepared_again() -> None:
    """Once, decoded, before the next step of the head; what can't be read is left out."""
    charges = Charges()
    shown: list[Sequence[Received]] = []
    listener = MemoryListener(prepare=charges, look_ahead=shown.append)
    began = listener.clock.now()
    charges.unknown_since = lambda: began
    listener.ask("a", 0)
    listener.turn(3)
    assert shown == []

    listener.ask("a", 1)
    listener.bus.append([(ASKED.name, b"a", b"poison", [])])
    listener.ask("a", 2)
    listener.ask("b", 0)
    intents = charges.intents["a"]
    while charges.intents["a"] == intents:
        listener.turn()
    assert [[(each.event.id, each.event.number) for each in batch] for batch in shown] == [
        [("a", 1), ("a", 2)]
    ]
    listener.turn(400)
    assert len(shown) == 1, "once"
    charges.unknown_since = None
    listener.run()
    assert listener.told == {"a": [0, 1, 2], "b": [0]}
    assert len(listener.dead) == 1


def test_a_look_ahead_that_finds_its_database_away_is_made_again_before_anything_is_intended() -> (
    None
):
    charges = Charges()
    tries: list[object] = []

    def away(behind: object) -> None:
        tries.append(behind)
        if len(tries) < 4:
            raise Unavailable("away", resource="database")

    listener = MemoryListener(prepare=charges, look_ahead=away)
    listener.ask("a", 0, 1)
    listener.turn(2)
    assert (len(tries) > 0, charges.intents["a"]) == (True, 0)
    listener.run()
    assert (len(tries), listener.told) == (4, {"a": [0, 1]})


def test_an_error_that_must_stop_the_worker_stops_it() -> None:
    charges = Charges()
    listener = charging(charges)
    charges.errors["a"] = Refused("it would be wrong to go on")
    listener.ask("a", 0)
    with pytest.raises(Refused):
        listener.turn(4)


def test_a_pool_without_calls_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match="calls_max is 0"):
        MemoryListener(prepare=Charges(), calls_max=0)


def test_an_announcement_that_is_refused_is_a_dead_letter_and_makes_no_second_call() -> None:
    charges = Charges()
    listener = MemoryListener(prepare=charges)
    listener.turn()
    listener.broker.refused_keys.add((TOLD.name, b"bad"))
    for key in ("a", "bad", "b"):
        listener.ask(key, 0, 1)
    listener.run()
    assert listener.told == {"a": [0, 1], "b": [0, 1]}
    assert [(letter.key(), attempts(letter)) for letter in listener.dead] == [(b"bad", 3)] * 2
    assert charges.calls == {"a": 2, "bad": 2, "b": 2}
    assert listener.broker.lag(GROUP, [ASKED.name]) == 0


def test_records_that_fail_in_the_handler_keep_no_good_one_from_being_prepared() -> None:
    """The handler is suspected, and its records stay ready: what comes later must be tried too."""
    listener = charging(Charges())
    for number in range(40):
        listener.ask(f"bad-{number}", 0, behaviour="fail")
    listener.turn(300)
    listener.ask("good", 0)
    listener.turn(400)
    assert listener.told == {"good": [0]}


def test_calls_that_end_in_the_rest_after_a_transaction_are_recorded_together_after_it() -> None:
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    recorded = charges.recorded
    for number in range(2):
        listener.ask(f"first-{number}", 0)
    listener.turn(3)
    ManualCalls.pool.end_all()
    (worker,) = listener.workers
    listener.ask("late", 0)
    worker.turn()
    assert len(recorded) == 2, "nobody waits where there was no transaction a moment ago"

    worker.turn()
    ManualCalls.pool.end_all()
    worker.turn()
    assert len(recorded) == 2
    listener.clock.advance(REST_S[1])
    worker.turn()
    assert len(recorded) == 3


def test_enough_calls_that_have_ended_cut_the_rest_short() -> None:
    charges = Charges()
    listener = charging(charges, calls=ManualCalls)
    for number in range(ENOUGH + 1):
        listener.ask(f"key-{number}", 0)
    (worker,) = listener.workers
    while len(ManualCalls.pool.under_way) < ENOUGH + 1:
        listener.turn()
    listener.ask("another", 0)
    worker.turn()
    ManualCalls.pool.end_all()
    worker.turn()
    assert len(charges.recorded) >= ENOUGH
