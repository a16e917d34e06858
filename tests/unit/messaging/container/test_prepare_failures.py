"""
What fails in the stage of `Prepare`: batches are halved between polls, a lock delays only the
record that meets it, and a handler that fails for everything is probed, not stormed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.support.memory_listener import MemoryListener, attempts

from orderflow.messaging.container.stages.prepare_stage import APART_FOR_S
from orderflow.messaging.errors import Contention, Unavailable
from orderflow.messaging.listener import Ask, Received, RetryPolicy, Settled

KEYS = [f"key-{number}" for number in range(64)]
LOCKED = Contention("somebody holds its row", resource="database")


class Charges:
    """
    Keeps each outcome by the record's id. `intent_fault` and `outcome_fault` say what a batch with
    a record of this key raises, if anything; `batches` are their sizes, `calls` the keys called.
    """

    def __init__(self) -> None:
        self.intent_fault: Callable[[str], Exception | None] = lambda _key: None
        self.outcome_fault: Callable[[str], Exception | None] = lambda _key: None
        self.recorded: dict[str, str] = {}
        self.calls: list[str] = []
        self.batches: list[list[str]] = []

    def intent(self, batch: Sequence[Received]) -> list[Settled | Ask]:
        self._fail(self.intent_fault, batch)
        return [self._step(received) for received in batch]

    def call(self, task: str) -> str:
        self.calls.append(task)
        return "paid"

    def outcome(self, finished: Sequence[tuple[Received, Any, Any]]) -> list[Settled | Ask]:
        self._fail(self.outcome_fault, [received for received, _task, _answer in finished])
        for received, _task, answer in finished:
            self.recorded[str(received.metadata.id)] = answer
        return [self._step(received) for received, _task, _answer in finished]

    def _fail(self, fault: Callable[[str], Exception | None], batch: Sequence[Received]) -> None:
        keys = [received.event.id for received in batch]
        self.batches.append(keys)
        for key in keys:
            if (error := fault(key)) is not None:
                raise error

    def _step(self, received: Received) -> Settled | Ask:
        outcome = self.recorded.get(str(received.metadata.id))
        return Ask(received.event.id) if outcome is None else Settled(outcome)


class Together(Charges):
    """Outcomes and intents in one transaction. `together` counts those that were had so."""

    def __init__(self) -> None:
        super().__init__()
        self.together = 0

    def advance(
        self, finished: Sequence[tuple[Received, Any, Any]], batch: Sequence[Received]
    ) -> tuple[list[Settled | Ask], list[Settled | Ask]]:
        outcomes = [received.event.id for received, _task, _answer in finished]
        intents = [received.event.id for received in batch]
        self.batches.append(outcomes + intents)
        for fault, keys in ((self.outcome_fault, outcomes), (self.intent_fault, intents)):
            for key in keys:
                if (error := fault(key)) is not None:
                    raise error
        self.together += 1
        for received, _task, answer in finished:
            self.recorded[str(received.metadata.id)] = answer
        after_calls = [self._step(received) for received, _task, _answer in finished]
        return after_calls, [self._step(received) for received in batch]


@pytest.fixture(params=[Charges, Together])
def charges(request: pytest.FixtureRequest) -> Charges:
    made: Charges = request.param()
    return made


def of(key: str, error: Exception) -> Callable[[str], Exception | None]:
    return lambda other: error if other == key else None


@pytest.mark.parametrize("stage", ["intent_fault", "outcome_fault"])
def test_a_batch_that_fails_is_halved_with_a_poll_after_each_transaction(
    charges: Charges, stage: str
) -> None:
    listener = MemoryListener(prepare=charges, retry=RetryPolicy(back_off_s=()))
    setattr(charges, stage, of("bad", ValueError("a fault of the service")))
    listener.ask("bad", 0)
    for key in KEYS:
        listener.ask(key, 0)

    while len(listener.told) < len(KEYS) or not listener.dead:
        before = len(charges.batches)
        listener.turn()
        # One of intents, one of outcomes.
        assert len(charges.batches) - before <= 2
    (letter,) = listener.dead
    assert (letter.key(), attempts(letter)) == (b"bad", 1)
    assert listener.told == {key: [0] for key in KEYS}
    assert len(charges.batches) < len(KEYS), "not one by one"


@pytest.mark.parametrize("stage", ["intent_fault", "outcome_fault"])
def test_a_locked_row_delays_only_the_record_that_meets_it(charges: Charges, stage: str) -> None:
    listener = MemoryListener(prepare=charges)
    setattr(charges, stage, of("locked", LOCKED))
    listener.ask("locked", 0, 1)
    for key in KEYS:
        listener.ask(key, 0)
    listener.turn(40)
    assert listener.told == {key: [0] for key in KEYS}
    assert listener.reasons() == [], "the database is there"

    # Others go on in full batches while it waits.
    before = len(charges.batches)
    for key in KEYS:
        listener.ask(key, 1)
    listener.turn(20)
    later = charges.batches[before:]
    assert max(len(batch) for batch in later) > len(KEYS) / 2
    assert all(len(batch) == 1 for batch in later if "locked" in batch)

    setattr(charges, stage, lambda _key: None)
    listener.run()
    assert listener.told["locked"] == [0, 1]
    assert listener.dead == []


def test_an_answer_whose_row_is_locked_is_kept_and_the_call_not_made_again(
    charges: Charges,
) -> None:
    listener = MemoryListener(prepare=charges)
    charges.outcome_fault = of("locked", LOCKED)
    listener.ask("locked", 0)
    listener.turn(400)
    assert (listener.told, listener.dead) == ({}, [])
    assert 10 < len(charges.batches) < 60

    charges.outcome_fault = lambda _key: None
    listener.turn(30)
    assert listener.told == {"locked": [0]}
    assert charges.calls == ["locked"]


@pytest.mark.parametrize("stage", ["intent_fault", "outcome_fault"])
def test_when_everything_fails_nobody_is_charged_and_probes_back_off(
    charges: Charges, stage: str
) -> None:
    listener = MemoryListener(prepare=charges, retry=RetryPolicy(back_off_s=(600.0, 600.0)))
    setattr(charges, stage, lambda _key: ValueError("a fault of the service"))
    for key in KEYS:
        listener.ask(key, 0)
    listener.turn(60)
    assert any("it fails for every record" in reason for reason in listener.reasons())
    before = len(charges.batches)
    listener.turn(100)
    # 25 s in back-offs of up to 5 s, each with up to 20 records.
    assert len(charges.batches) - before < 2 * 20 * 10
    assert listener.dead == []

    setattr(charges, stage, lambda key: ValueError("bad") if key in KEYS[:32] else None)
    began = listener.clock.monotonic()
    while not listener.told:
        listener.turn()
    assert listener.clock.monotonic() - began < 20
    setattr(charges, stage, lambda _key: None)
    listener.run()
    assert listener.told == {key: [0] for key in KEYS}
    assert listener.dead == []


def test_outcomes_and_intents_share_a_transaction_where_they_can() -> None:
    charges = Together()
    listener = MemoryListener(prepare=charges, calls_max=8)
    for key in KEYS:
        listener.ask(key, 0)
    listener.run()
    assert listener.told == {key: [0] for key in KEYS}
    # The first has intents alone, the last outcomes alone; between them is one for eight records.
    assert charges.together == len(KEYS) / 8 - 1
    assert len(charges.batches) == charges.together + 2
    assert sorted(charges.calls) == sorted(KEYS)


@pytest.mark.parametrize("stage", ["intent_fault", "outcome_fault"])
def test_a_shared_transaction_that_fails_makes_no_call_twice_and_is_shared_again_later(
    stage: str,
) -> None:
    charges = Together()
    listener = MemoryListener(prepare=charges, calls_max=8)
    away = Unavailable("away", resource="database")
    for key in KEYS[:24]:
        listener.ask(key, 0)
    listener.turn(2)
    setattr(charges, stage, lambda _key: away)
    listener.turn(4)
    assert listener.reasons(), "the database is away"
    setattr(charges, stage, lambda _key: None)
    listener.run()
    assert listener.told == {key: [0] for key in KEYS[:24]}
    assert sorted(charges.calls) == sorted(KEYS[:24])

    listener.clock.advance(APART_FOR_S)
    before = charges.together
    for key in KEYS:
        listener.ask(key, 1)
    listener.run()
    assert charges.together > before
