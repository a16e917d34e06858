"""The bus's stand-in for a container: its reading, waves, ids and dead letters without its Kafka half."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from orderflow.messaging.container import delivery as deliveries
from orderflow.messaging.container.intake import Intake
from orderflow.messaging.container.partition import BEGINNING, Item, Partition
from orderflow.messaging.container.publishing import Publisher
from orderflow.messaging.dead_letters import letter as dead_letter
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Poison, Transient
from orderflow.messaging.event import Headers, Metadata, from_headers, to_headers
from orderflow.messaging.kafka import finished_offsets as offsets
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import (
    Ask,
    Caused,
    ExactlyOnce,
    InboxOutbox,
    Listener,
    Prepare,
    Settled,
    Unknown,
)
from orderflow.messaging.postgres import Cursor, Session
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.messaging.schemas.avro import Decoder, Encoder

PARTITIONS = 3


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """
    Chances, each between 0 and 1. `repeat`: a published record is published once more, later (a resync, a replay).
    `abort`: a wave's transaction fails after its handler ran. `crash`: a listener forgets all that is not committed.
    """

    repeat: float = 0.0
    abort: float = 0.0
    crash: float = 0.0
    wave_max: int = 8


class Message:
    """A record in the shape in which the client hands it out."""

    def __init__(self, topic: str, partition: int, offset: int, produced: Produced) -> None:
        self._topic = topic
        self._partition = partition
        self._offset = offset
        _topic, self._key, self._value, self._headers = produced

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers:
        return list(self._headers)

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    @property
    def metadata(self) -> Metadata:
        return from_headers(self._headers)


class Stuck(AssertionError):
    """Something has been waiting for longer than any test should."""


class Log(Protocol):
    """What a worker needs of the bus."""

    draw: random.Random
    faults: Faults

    def append(self, records: Iterable[Produced]) -> None:
        """Publish."""

    def log(self, topic: str, partition: int) -> list[Message]:
        """What is on a partition."""


class _Undone(Exception):
    """Struck before the database commit."""


class _Noting(Publisher):
    """Keeps the outbox rows of the wave, for the relay that is played here."""

    def __init__(self, listener: Listener, encoder: Encoder) -> None:
        super().__init__(listener, encoder)
        self.noted: list[OutboxRow] = []

    def rows(self, caused: Iterable[Caused]) -> list[OutboxRow]:
        self.noted = super().rows(caused)
        return self.noted


class Worker:
    """One listener's container, without its Kafka half. `ready`: heads of lanes."""

    def __init__(
        self,
        listener: Listener,
        *,
        bus: Log,
        encoder: Encoder,
        decoder: Decoder,
        session: Session | None,
    ) -> None:
        if isinstance(listener.delivery, InboxOutbox) and session is None:
            raise ConfigurationError(
                f"listener {listener.name} needs a session: Bus(sessions={{...}})"
            )
        self.listener = listener
        self.ready: list[Item] = []
        self._bus = bus
        self._session = session
        self._intake = Intake(listener, decoder)
        self._publisher = _Noting(listener, encoder)
        self._dlt = {
            name: dead_letter_topic(topic, listener.group).name
            for name, topic in listener.subscribed.items()
        }
        self._partitions = {
            (topic, number): Partition(topic, number, offsets.Window(BEGINNING))
            for topic in listener.subscribed
            for number in range(PARTITIONS)
        }
        self._committed: dict[tuple[str, int], tuple[int, str]] = {}

    def hear(self, message: Message) -> None:
        partition = self._partitions.get((message.topic(), message.partition()))
        if partition is not None:
            item = partition.admit(message)
            if item is not None and item.is_head:
                self.ready.append(item)

    def turn(self) -> None:
        wave = self._readable(self._wave())
        struck = self._bus.draw.random() < self._bus.faults.abort
        if wave:
            self._run(wave, struck=struck)
        if isinstance(self.listener.delivery, InboxOutbox) and self._bus.draw.random() < 0.5:
            self._commit()
        if self._bus.draw.random() < self._bus.faults.crash:
            self._crash()

    def _wave(self) -> list[Item]:
        """Some of the ready records, in any order; one for each key. Those that failed before run alone."""
        size = self._bus.draw.randint(1, self._bus.faults.wave_max)
        wave: dict[bytes, Item] = {}
        for item in self._bus.draw.sample(self.ready, min(size, len(self.ready))):
            if item.alone and wave:
                continue
            wave.setdefault(item.key, item)
            if item.alone:
                break
        return list(wave.values())

    def _readable(self, wave: list[Item]) -> list[Item]:
        found = []
        for item in wave:
            try:
                if item.received is not None or self._intake.read(item):
                    found.append(item)
                else:
                    self._over([item], [])
            except Poison as error:
                self._give_up(item, error, attempts=0)
        return found

    def _run(self, wave: list[Item], *, struck: bool) -> None:
        try:
            prepared = self._prepared(wave)
            outputs = self._handle(prepared, struck=struck) if prepared else []
        except (_Undone, Transient):
            return
        except (ConfigurationError, Stuck):
            raise
        except Exception as error:  # noqa: BLE001 - as the container
            if len(wave) > 1:
                for item in wave:
                    if not item.done:
                        self._run([item], struck=False)
            else:
                self._failed(wave[0], error)
            return
        if struck:
            # Exactly once: the Kafka transaction was aborted. Inbox and outbox: the offsets were not committed.
            if isinstance(self.listener.delivery, InboxOutbox):
                self._bus.append(outputs)
            return
        self._over(prepared, outputs)

    def _handle(self, wave: list[Item], *, struck: bool) -> list[Produced]:
        delivery = self.listener.delivery
        if isinstance(delivery, ExactlyOnce):
            return deliveries.exactly_once(delivery, self._publisher, wave)
        assert self._session is not None
        self._publisher.noted = []
        if struck and self._bus.draw.random() < 0.5:
            delivery = InboxOutbox(handler=_undone(delivery.handler))
        deliveries.inbox_outbox(
            delivery, self._publisher, wave, listener=self.listener.name, session=self._session
        )
        return [
            (row.topic, row.key.encode(), row.payload, to_headers(row.metadata))
            for row in self._publisher.noted
        ]

    def _prepared(self, wave: list[Item]) -> list[Item]:
        """Those whose outcome is known; the others stay ready, and are asked about again."""
        delivery = self.listener.delivery
        prepare = delivery.prepare if isinstance(delivery, ExactlyOnce) else None
        if prepare is None:
            return wave
        steps = list(zip(wave, prepare.intent([item.received for item in wave]), strict=True))
        settled = []
        while steps:
            asked = [(item, step.task) for item, step in steps if isinstance(step, Ask)]
            settled += [(item, step.outcome) for item, step in steps if isinstance(step, Settled)]
            for item, since in [
                (item, step.since) for item, step in steps if isinstance(step, Unknown)
            ]:
                if (datetime.now(UTC) - since).total_seconds() > self.listener.retry.unknown_for_s:
                    self._give_up(
                        item,
                        OrderflowError(f"its outcome is unknown since {since}"),
                        attempts=item.looks,
                    )
                item.looks += 1
            if not asked:
                break
            answered = [
                (item, task, answer[0])
                for item, task in asked
                if (answer := _answer(prepare, task))
            ]
            told = prepare.outcome(
                [(item.received, task, answer) for item, task, answer in answered]
            )
            steps = list(zip([item for item, *_ in answered], told, strict=True))
        for item, outcome in settled:
            item.outcome = outcome
        return [item for item, _outcome in settled]

    def _failed(self, item: Item, error: Exception) -> None:
        item.attempts += 1
        item.alone = True
        if isinstance(error, Poison) or item.attempts >= self.listener.retry.attempts_max:
            self._give_up(item, error, attempts=item.attempts)

    def _give_up(self, item: Item, error: Exception, *, attempts: int) -> None:
        now = datetime.now(UTC)
        timestamp_type, timestamp_ms = item.message.timestamp()
        letter = dead_letter.letter(
            dlt=self._dlt[item.partition.topic],
            topic=item.partition.topic,
            partition=item.partition.number,
            offset=item.offset,
            timestamp_ms=timestamp_ms,
            timestamp_type=timestamp_type,
            key=item.message.key(),
            value=item.message.value(),
            headers=item.message.headers(),
            evidence=dead_letter.Evidence(
                exception=error,
                attempts=attempts,
                first_failure=now,
                last_failure=now,
                group=self.listener.group,
            ),
        )
        self._over([item], [letter], at_once=True)

    def _over(self, wave: list[Item], outputs: list[Produced], *, at_once: bool = False) -> None:
        """The records are done; with `ExactlyOnce` and dead letters the offsets go with what is published."""
        for item in wave:
            item.done = True
            item.partition.finish(item)
            self.ready.remove(item)
            head = item.partition.advance(item)
            if head is not None:
                self.ready.append(head)
        if at_once or isinstance(self.listener.delivery, ExactlyOnce):
            self._commit()
        self._bus.append(outputs)

    def _commit(self) -> None:
        for place, partition in self._partitions.items():
            if partition.next >= 0:
                window = partition.window()
                self._committed[place] = (window.base, offsets.encode(window))

    def _crash(self) -> None:
        """Begin again from what is committed, as after kill -9."""
        self.ready = []
        for topic, number in self._partitions:
            base, metadata = self._committed.get((topic, number), (BEGINNING, ""))
            window = offsets.decode(metadata, offset=base)
            self._partitions[topic, number] = Partition(topic, number, window)
            for message in self._bus.log(topic, number)[max(base, 0) :]:
                self.hear(message)


def _undone(
    handler: Callable[[Cursor, Sequence[Any]], Iterable[Caused]],
) -> Callable[[Cursor, Sequence[Any]], Iterable[Caused]]:
    """The handler, and then a database that goes away before the commit."""

    def run(cursor: Cursor, batch: Sequence[Any]) -> Iterable[Caused]:
        list(handler(cursor, batch))
        raise _Undone

    return run


def _answer(prepare: Prepare, task: Any) -> tuple[Any] | None:
    """What a call answered; None if surely nothing happened, and it must be made again."""
    try:
        return (prepare.call(task),)
    except Transient:
        return None
