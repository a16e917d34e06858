"""One listener of the probe language on the in-memory bus, driven turn by turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs
from tests.support.probe_language import NAMESPACE, Asked, Told, asked, catalogue, topics

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.errors import Contention, Poison, RecordFault, Unavailable
from orderflow.messaging.event import CE_CAUSATION_ID, Metadata
from orderflow.messaging.kafka.finished_offsets import Window, decode
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.listener import (
    Caused,
    ExactlyOnce,
    InboxOutbox,
    Listener,
    Prepare,
    Prepared,
    Received,
    RetryPolicy,
)
from orderflow.messaging.testing.bus import Bus, Fault, Faults, Message, Worker
from orderflow.messaging.testing.memory_database import MemoryDatabase
from orderflow.messaging.work.calls import Calls, InlineCalls

NAME, GROUP = "probe", "probe-group"
ASKED, TOLD = topics(NAME, 3)
DLT = f"{NAME}.{GROUP}.dlt"
TURN_S = 0.25
"""Longer than any rest after a commit, and than the time between two plain commits."""


class Handler:
    """
    Answers each record, and behaves as the record says: `fail` raises, `dead` calls it poison,
    `fault` finds that the record contradicts what is recorded, `away` finds a resource away as long
    as `away` is true, `locked` meets a lock as long as `locked` is true. More than `fast_max`
    records at a time take too long.

    `waves` are the batches it was given, as (key, number) pairs, also those that failed.
    `meanwhile` is called in each, as if it took that long.
    """

    def __init__(self) -> None:
        self.waves: list[list[tuple[str, int]]] = []
        self.broken = False
        self.away = self.locked = True
        self.fast_max = 500
        self.meanwhile: Callable[[], None] = lambda: None

    def compute(self, batch: Sequence[Received | Prepared]) -> list[Caused]:
        received = [part.received if isinstance(part, Prepared) else part for part in batch]
        self.waves.append([(record.event.id, record.event.number) for record in received])
        assert len({record.key for record in received}) == len(received), "two of one key"
        self.meanwhile()
        if self.broken:
            raise RuntimeError("broken for everything")
        if len(batch) > self.fast_max:
            raise Contention("told to be slow", resource="database")
        for record in received:
            self._behave(record.event)
        return [(record, _answer(record.event)) for record in received]

    def effect(self, cursor: Any, batch: Sequence[Received]) -> list[Caused]:
        caused = self.compute(batch)
        for record in batch:
            cursor.execute("effect", (record.event.id, record.event.number))
        return caused

    @property
    def sizes(self) -> list[int]:
        return [len(wave) for wave in self.waves]

    def _behave(self, event: Asked) -> None:
        if event.behaviour == "fail":
            raise ValueError("told to fail")
        if event.behaviour == "dead":
            raise Poison("told to be poison")
        if event.behaviour == "fault":
            raise RecordFault("told to be at fault")
        if event.behaviour == "locked" and self.locked:
            raise Contention("told to meet a lock", resource="database")
        if event.behaviour == "away" and self.away:
            raise Unavailable("told to be away", resource="provider")


class MemoryListener:
    """
    A listener with its containers. `turn` gives one of them a turn, `run` goes on until nothing is
    left to do.
    """

    def __init__(
        self,
        *,
        database: MemoryDatabase | None = None,
        prepare: Prepare | None = None,
        look_ahead: Callable[[Sequence[Received]], None] | None = None,
        retry: RetryPolicy | None = None,
        faults: Faults | None = None,
        workers: int = 1,
        calls: type[Calls[Record]] = InlineCalls,
        calls_max: int = 128,
        seed: int = 0,
        writer: str | None = None,
        wanted: Callable[[Asked], bool] | None = None,
    ) -> None:
        self.handler = Handler()
        self.listener = Listener(
            name=NAME,
            group=GROUP,
            source="/probe",
            namespace=NAMESPACE,
            topics=(structs.replace(ASKED, source=writer),),
            handles=(Asked,),
            wanted=wanted,
            publishes=(TOLD,),
            delivery=ExactlyOnce(
                handler=self.handler.compute,
                prepare=prepare,
                look_ahead=look_ahead,
                calls_max=calls_max,
            )
            if database is None
            else InboxOutbox(handler=self.handler.effect),
            retry=retry or RetryPolicy(),
        )
        self.bus = Bus(
            (self.listener,),
            catalogue=catalogue(NAME),
            databases={} if database is None else {NAME: database},
            faults=faults or Faults(wave_max=500),
            workers=workers,
            calls=calls,
            seed=seed,
        )
        self.clock, self.broker = self.bus.clock, self.bus.broker
        self.workers: list[Worker] = self.bus.workers[NAME]

    def ask(self, key: str, *numbers: int, behaviour: str = "") -> list[Metadata]:
        return [self.bus.publish(ASKED.name, asked(key, number, behaviour)) for number in numbers]

    def replay(self, key: str, *numbers: int) -> None:
        """As `ask`, on the group's replay topic: another partition than the key's own."""
        replay = replay_topic(ASKED, GROUP).name
        for number in numbers:
            self.bus.publish(ASKED.name, asked(key, number), to=replay)

    def turn(self, times: int = 1, *, worker: int = 0) -> None:
        for _ in range(times):
            self.clock.advance(TURN_S)
            self.workers[worker].turn()

    def run(self) -> int:
        return self.bus.run()

    def plan(self, *faults: Fault) -> None:
        self.broker.planned.extend(faults)

    @property
    def told(self) -> dict[str, list[int]]:
        """The numbers that were answered, by key, in the order of the answers."""
        answers: dict[str, list[int]] = defaultdict(list)
        for _metadata, fields in self.bus.events(TOLD.name):
            answers[fields["id"]].append(fields["number"])
        return dict(answers)

    @property
    def causes(self) -> list[str]:
        return [
            (dict(record.headers())[CE_CAUSATION_ID] or b"").decode()
            for record in self.bus.records(TOLD.name)
        ]

    @property
    def dead(self) -> list[Message]:
        return self.bus.records(DLT)

    def reasons(self, worker: int = 0) -> list[str]:
        return self.workers[worker].container.reasons()

    def committed(self, message: Message) -> Window:
        """What the group has committed for the partition of `message`."""
        place = message.topic(), message.partition()
        offset, metadata = self.broker.groups[GROUP].committed.get(place, (0, ""))
        return decode(metadata, offset=offset)

    def message(self, key: str, number: int) -> Message:
        """The record that asked this."""
        (message,) = [
            message
            for message, (_metadata, fields) in zip(
                self.bus.records(ASKED.name), self.bus.events(ASKED.name), strict=True
            )
            if (fields["id"], fields["number"]) == (key, number)
        ]
        return message

    def is_finished(self, key: str, number: int) -> bool:
        """Whether the group's commit says so."""
        message = self.message(key, number)
        return self.committed(message).is_finished(message.offset())


def attempts(letter: Message) -> int:
    return int.from_bytes(dict(letter.headers())["retry_topic-attempts"] or b"", "big")


def _answer(event: Asked) -> Told:
    return Told(id=event.id, number=event.number, behaviour=event.behaviour, at=event.at)
