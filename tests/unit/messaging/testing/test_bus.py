"""
The bus keeps what Kafka and the container promise, whatever fault happens; no socket, no database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.probe_language import NAMESPACE, Asked, Ignored, Told, asked, catalogue, topics

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.event import CE_ID
from orderflow.messaging.listener import (
    Ask,
    Caused,
    ExactlyOnce,
    InboxOutbox,
    Listener,
    Prepare,
    Prepared,
    Received,
    Settled,
    Unknown,
)
from orderflow.messaging.testing.bus import Bus, Faults, Stuck

ASKED, TOLD = topics("probe", 3)
CATALOGUE = catalogue("probe")
FAULTS = st.builds(
    Faults,
    repeat=st.sampled_from([0.0, 0.3]),
    abort=st.sampled_from([0.0, 0.4]),
    unknown=st.sampled_from([0.0, 0.2]),
    expel=st.sampled_from([0.0, 0.1]),
    crash=st.sampled_from([0.0, 0.2]),
    wave_max=st.integers(1, 10),
)


def answer(event: Asked) -> Told:
    return Told(id=event.id, number=event.number, behaviour="", at=event.at)


class Answers:
    """Tells what it was asked; `calls` are the records of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, batch: Sequence[Received]) -> list[Caused]:
        assert len({received.key for received in batch}) == len(batch), (
            "two records of one key in a wave"
        )
        self.calls += [(received.event.id, received.event.number) for received in batch]
        if any(received.event.behaviour == "fail" for received in batch):
            raise ValueError("told to fail")
        return [(received, answer(received.event)) for received in batch]


def listener(handler: Any, prepare: Prepare | None = None) -> Listener:
    return Listener(
        name="probe",
        group="probe-group",
        source="/probe",
        namespace=NAMESPACE,
        topics=(ASKED,),
        handles=(Asked,),
        publishes=(TOLD,),
        delivery=ExactlyOnce(handler=handler, prepare=prepare),
    )


def a_bus(
    *listeners: Listener, seed: int = 0, faults: Faults | None = None, workers: int = 1
) -> Bus:
    return Bus(
        listeners, catalogue=CATALOGUE, seed=seed, faults=faults or Faults(), workers=workers
    )


def answers(bus: Bus) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for _metadata, fields in bus.events(TOLD.name):
        numbers[fields["id"]].append(fields["number"])
    return dict(numbers)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), FAULTS, st.integers(1, 3))
def test_every_record_is_answered_once_in_order_and_a_repeat_under_the_same_id(
    seed: int, faults: Faults, workers: int
) -> None:
    bus = a_bus(listener(Answers()), seed=seed, faults=faults, workers=workers)
    for number in range(6):
        for key in "abcde":
            bus.publish(ASKED.name, asked(key, number))
    bus.run()
    published = Counter(str(record.metadata.id) for record in bus.records(ASKED.name))
    assert published == Counter(metadata.causation_id for metadata, _ in bus.events(TOLD.name))
    assert len({metadata.id for metadata, _ in bus.events(TOLD.name)}) == 30
    if not faults.repeat:
        assert answers(bus) == {key: list(range(6)) for key in "abcde"}


def test_the_same_seed_does_the_same_and_another_one_does_not() -> None:
    def calls(seed: int) -> list[tuple[str, int]]:
        handler = Answers()
        bus = a_bus(listener(handler), seed=seed, faults=Faults(repeat=0.2, abort=0.2, crash=0.1))
        for number in range(5):
            for key in "abcd":
                bus.publish(ASKED.name, asked(key, number))
        bus.run()
        return handler.calls

    assert calls(7) == calls(7)
    assert calls(7) != calls(8)


def test_a_wave_has_one_record_of_a_key_even_if_two_topics_have_more() -> None:
    handler = Answers()
    bus = a_bus(listener(handler), seed=1, faults=Faults(wave_max=50))
    for number in range(5):
        for key in "ab":
            bus.publish(ASKED.name, asked(key, number))
    copies = [
        (f"{ASKED.name}.probe-group.replay", m.key(), m.value(), m.headers())
        for m in bus.records(ASKED.name)
    ]
    bus.append(copies)
    bus.run()
    assert len(handler.calls) == 20


def test_a_record_that_always_fails_is_a_dead_letter_and_its_key_flows_on() -> None:
    handler = Answers()
    bus = a_bus(listener(handler), seed=3)
    for key in "abc":
        bus.publish(ASKED.name, asked(key, 0))
    bad = bus.publish(ASKED.name, asked("b", 1, "fail"))
    bus.publish(ASKED.name, asked("b", 2))
    bus.run()
    assert answers(bus) == {"a": [0], "b": [0, 2], "c": [0]}
    (dead,) = bus.records("probe.probe-group.dlt")
    headers = dict(dead.headers())
    assert headers[CE_ID] == str(bad.id).encode()
    assert headers["retry_topic-attempts"] == b"\x00\x00\x00\x03"


def test_poison_is_a_dead_letter_byte_for_byte_and_a_foreign_type_is_skipped() -> None:
    bus = a_bus(listener(Answers()))
    bus.append([(ASKED.name, b"a", b"\x00junk", [("x", b"y")])])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    bus.publish(ASKED.name, Ignored(id="a", number=0, at=moment))
    bus.publish(ASKED.name, asked("a", 1))
    bus.run()
    assert answers(bus) == {"a": [1]}
    (dead,) = bus.records("probe.probe-group.dlt")
    assert (dead.key(), dead.value(), dead.headers()[0]) == (b"a", b"\x00junk", ("x", b"y"))


class Charges:
    """
    A `prepare` that keeps outcomes and asks outside; some answers come late, some calls find
    nobody.
    """

    def __init__(self, seed: int) -> None:
        self.outcomes: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self._seed = seed

    def intent(self, batch: Sequence[Received]) -> list[Settled | Ask | Unknown]:
        return [
            Settled(self.outcomes[name])
            if (name := str(received.metadata.id)) in self.outcomes
            else Ask(name)
            for received in batch
        ]

    def call(self, task: str) -> str:
        self.asked[task] += 1
        if self.asked[task] == 1 and (int(task[:8], 16) + self._seed) % 3 == 0:
            raise Unavailable("nobody there", resource="provider")
        return "late" if self.asked[task] == 2 else "paid"

    def outcome(
        self, finished: Sequence[tuple[Received, Any, Any]]
    ) -> list[Settled | Ask | Unknown]:
        steps: list[Settled | Ask | Unknown] = []
        for _received, task, answer in finished:
            if answer == "late":
                steps.append(Unknown(datetime.now(UTC)))
            else:
                self.outcomes[task] = answer
                steps.append(Settled(answer))
        return steps


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1_000), FAULTS)
def test_what_is_prepared_is_announced_as_it_was_recorded(seed: int, faults: Faults) -> None:
    def announce(batch: Sequence[Prepared]) -> list[Caused]:
        return [
            (
                prepared.received,
                msgspec.structs.replace(
                    answer(prepared.received.event), behaviour=prepared.outcome
                ),
            )
            for prepared in batch
        ]

    charges = Charges(seed)
    bus = a_bus(
        listener(announce, charges), seed=seed, faults=msgspec.structs.replace(faults, repeat=0.0)
    )
    for number in range(3):
        for key in "abcdef":
            bus.publish(ASKED.name, asked(key, number))
    bus.run()
    assert answers(bus) == {key: [0, 1, 2] for key in "abcdef"}
    assert {fields["behaviour"] for _, fields in bus.events(TOLD.name)} == {"paid"}
    assert len(charges.outcomes) == 18


def test_an_outcome_that_nobody_knows_for_an_hour_is_a_dead_letter() -> None:
    class Never(Charges):
        def outcome(
            self, finished: Sequence[tuple[Received, Any, Any]]
        ) -> list[Settled | Ask | Unknown]:
            return [Unknown(datetime.now(UTC) - timedelta(hours=2)) for _ in finished]

    bus = a_bus(listener(Answers(), Never(1)))
    bus.publish(ASKED.name, asked("a", 0))
    bus.run()
    assert len(bus.records("probe.probe-group.dlt")) == 1


def test_what_waits_for_time_to_pass_is_said_to_be_stuck() -> None:
    class Pending(Charges):
        def outcome(
            self, finished: Sequence[tuple[Received, Any, Any]]
        ) -> list[Settled | Ask | Unknown]:
            return [Unknown(datetime.now(UTC)) for _ in finished]

    bus = a_bus(listener(Answers(), Pending(1)))
    bus.publish(ASKED.name, asked("a", 0))
    with pytest.raises(Stuck, match="probe: 1"):
        bus.run(turns_max=30)


def test_a_listener_with_an_inbox_needs_its_database() -> None:
    with_inbox = msgspec.structs.replace(
        listener(Answers()), delivery=InboxOutbox(handler=lambda _cursor, _batch: ())
    )
    with pytest.raises(ConfigurationError, match="database"):
        a_bus(with_inbox)
