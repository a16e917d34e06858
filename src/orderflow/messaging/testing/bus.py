"""
Kafka, relays and containers in one thread of a test: deterministic, and as unkind as the real ones may be.

Listeners run as they are: real Avro, the container's own reading, waves, ids and dead letters; `InboxOutbox` handlers
on a real database, `prepare` with real calls. What stands in for Kafka is a list of records for each topic.

From one seed follow: which listener runs next, which keys are in its wave, and where it is struck. Promised, as on
Kafka: order per topic and key; a record whose commit failed comes again; what was committed is never taken back;
finished offsets survive a restart through the metadata of the commit. Not promised, as on Kafka: any order between keys
or topics. Time does not pass: a back-off or an unknown outcome only means that others may run first.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID
from zlib import crc32

from orderflow.messaging.event import EventId, Metadata, to_headers
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import Listener, Publishable
from orderflow.messaging.postgres import Session
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.testing.bus_worker import PARTITIONS, Faults, Message, Stuck, Worker
from orderflow.messaging.testing.registry import InMemoryRegistry

__all__ = ["KIND", "Bus", "Faults", "Message", "Stuck"]

TURNS_MAX = 100_000


KIND = Faults()


class Bus:
    """
    Everything that is published goes to every listener that hears the topic; `run` goes on until nothing is left to do.

    `sessions`: the database of each `InboxOutbox` listener, by its name.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        *,
        catalogue: SchemaCatalogue,
        sessions: Mapping[str, Session] | None = None,
        seed: int = 0,
        faults: Faults = KIND,
    ) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - repeatable is what it must be
        self.faults = faults
        self._ids = random.Random(seed)  # noqa: S311
        registry = InMemoryRegistry.holding(catalogue)
        self._encoder = Encoder.load(registry, catalogue)
        self._decoder = Decoder(registry)
        self._topics: dict[str, list[Message]] = defaultdict(list)
        self._log: dict[tuple[str, int], list[Message]] = defaultdict(list)
        self._later: list[Produced] = []
        self._workers = [
            Worker(
                listener,
                bus=self,
                encoder=self._encoder,
                decoder=self._decoder,
                session=(sessions or {}).get(listener.name),
            )
            for listener in listeners
        ]

    def publish(self, topic: str, event: Publishable, *, cause: Metadata | None = None) -> Metadata:
        """As somebody would who starts a chain, or continues that of `cause`; the record's metadata."""
        metadata = Metadata(
            id=EventId(UUID(int=self._ids.getrandbits(128), version=4)),
            type=event.type_name(),
            source="/bus",
            time=event.happened_at,
            subject=event.subject,
            correlation_id=cause.correlation_id if cause else event.subject,
            causation_id=str(cause.id) if cause else None,
        )
        value = self._encoder.encode(topic, event)  # type: ignore[arg-type]
        self.append([(topic, event.key.encode(), value, to_headers(metadata))])
        return metadata

    def append(self, records: Iterable[Produced]) -> None:
        """Put records on their topics as they are, bad ones too."""
        for record in records:
            self._put(record)
            if self.draw.random() < self.faults.repeat:
                self._later.append(record)

    def run(self, turns_max: int = TURNS_MAX) -> int:
        """
        Deliver until every record is handled or a dead letter; how many turns it took.

        Raises Stuck if that is not reached in `turns_max` turns, and whatever a handler raises that must stop a worker.
        """
        for turn in range(turns_max):
            busy = [worker for worker in self._workers if worker.ready]
            if self._later and (not busy or self.draw.random() < 0.2):
                self._put(self._later.pop(self.draw.randrange(len(self._later))))
                continue
            if not busy:
                return turn
            self.draw.choice(busy).turn()
        waiting = [
            f"{worker.listener.name}: {len(worker.ready)}"
            for worker in self._workers
            if worker.ready
        ]
        raise Stuck(
            f"after {turns_max} turns records still wait ({', '.join(waiting)}): does time have to pass?"
        )

    def records(self, topic: str) -> list[Message]:
        """What is on a topic, in the order in which it was published: order counts per key."""
        return list(self._topics[topic])

    def told(self, topic: str) -> list[tuple[Metadata, dict[str, Any]]]:
        """Metadata and fields by wire name of every record on a topic."""
        return [(one.metadata, self._decoder.decode(one.value())[1]) for one in self._topics[topic]]

    def log(self, topic: str, partition: int) -> list[Message]:
        """What is on one partition; a record's offset is its place."""
        return self._log[topic, partition]

    def _put(self, record: Produced) -> None:
        topic, key, _value, _headers = record
        partition = crc32(key or b"") % PARTITIONS
        log = self._log[topic, partition]
        message = Message(topic, partition, len(log), record)
        log.append(message)
        self._topics[topic].append(message)
        for worker in self._workers:
            worker.hear(message)
