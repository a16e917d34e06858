"""
Kafka, relays and containers in one thread of a test: deterministic, and as unkind as the real ones
may be.

The containers are the real ones, with real Avro, waves, ids, retries, dead letters and commits;
`InboxOutbox` handlers run on the database that they are given. Kafka is a `MemoryBroker`; time is a
`MemoryClock`, which is advanced when no container has anything else to do.

From the seed follow: which container has the next turn, which records it is given, and which fault
happens where. Promised, as on Kafka: order per topic and key; a record whose commit failed comes
again; what was committed is never taken back; finished offsets survive a restart in the metadata of
the commit. Not promised, as on Kafka: any order between keys or topics.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec

from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.deliveries.effect_database import EffectDatabase
from orderflow.messaging.container.deliveries.stateful import StateParts
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import EventId, Metadata, to_headers
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import Listener, Publishable, Stateful
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.postgres.outbox import RowTexts
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.streams.local_state import LocalState, TaskState
from orderflow.messaging.streams.store.memory_store import MemoryStores
from orderflow.messaging.testing.memory_broker import Fault, MemoryBroker, Message
from orderflow.messaging.testing.memory_changelog import MemoryChangelogReader
from orderflow.messaging.testing.memory_client import MemoryClient
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.testing.registry import InMemoryRegistry
from orderflow.messaging.work.calls import Calls, InlineCalls

__all__ = ["KIND", "Bus", "Fault", "Faults", "Message", "Stuck", "Worker"]

TURNS_MAX = 20_000
REPEAT_CHANCE = 0.2


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """
    Chances, each between 0 and 1, and the size of waves.

    `repeat`: a published record is published once more, later (a resync, a replay). `abort`: a
    transaction is undone, Kafka's or the database's. `unknown`: a Kafka transaction is not
    answered; half of them are committed. `expel`: at a poll the member's partitions are lost.
    `refuse`: a plain offset commit is refused. `crash`: after a turn the container is dropped, with
    all that is not committed, and a new one takes its slot.
    """

    repeat: float = 0.0
    abort: float = 0.0
    unknown: float = 0.0
    expel: float = 0.0
    refuse: float = 0.0
    crash: float = 0.0
    wave_max: int = 8

    @property
    def of_broker(self) -> dict[Fault, float]:
        return {
            Fault.ABORTED: self.abort,
            Fault.COMMITTED_UNANSWERED: self.unknown / 2,
            Fault.ABORTED_UNANSWERED: self.unknown / 2,
            Fault.EXPELLED: self.expel,
            Fault.COMMIT_REFUSED: self.refuse,
        }


KIND = Faults()


class Stuck(AssertionError):
    """Records are still unfinished after more turns than any test should need."""


class Worker:
    """
    One container in its slot, and the client that it has; both are new after a crash. `stores` are
    its state stores, which a crash leaves as they are; `local` is what readers see of them.
    """

    client: MemoryClient
    container: Container
    local: LocalState

    def __init__(self, start: Callable[[Worker], Container]) -> None:
        self.stores = MemoryStores()
        self.piece_max = 1_000
        self._start = start
        self.restart()

    def restart(self) -> None:
        """
        Start a container from what is committed. The one before, if any, is dropped as by kill -9.
        """
        self.container = self._start(self)
        self.container.start()

    def turn(self) -> None:
        self.container.turn()

    def stop(self) -> None:
        """As after SIGTERM: a last turn, then the group is left."""
        self.container.last_turn()
        self.container.close()


class Bus:
    """
    Everything that is published goes to every listener that reads the topic; `run` goes on until
    nothing is left to do.

    `databases`: that of each `InboxOutbox` listener, by its name. `workers`: containers for each
    listener. `calls` are those of `Prepare`: on the container's own thread, unless the test wants
    to end them itself.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        *,
        catalogue: SchemaCatalogue,
        databases: Mapping[str, EffectDatabase] | None = None,
        seed: int = 0,
        faults: Faults = KIND,
        workers: int = 1,
        calls: type[Calls[Record]] = InlineCalls,
    ) -> None:
        self.faults = faults
        self.clock = MemoryClock(seed=seed)
        self.broker = MemoryBroker(seed=seed, chances=faults.of_broker)
        self.registry = InMemoryRegistry.holding(catalogue)

        self._draw = random.Random(seed)  # noqa: S311 - repeatable is what it must be
        self._ids = random.Random(seed)  # noqa: S311
        self._catalogue = catalogue
        self._calls = calls
        self._encoder = Encoder.load(self.registry, catalogue)
        self._decoder = Decoder(self.registry)
        self._databases = {
            name: _Relayed(database, bus=self) for name, database in (databases or {}).items()
        }
        self._later: list[Produced] = []

        self._listeners = listeners
        self._writers = {
            name: subscribed.source
            for listener in listeners
            for name, subscribed in listener.subscribed.items()
        }
        self.workers: dict[str, list[Worker]] = {
            listener.name: [self._worker(listener, slot) for slot in range(workers)]
            for listener in listeners
        }

    def publish(
        self,
        topic: str,
        event: Publishable,
        *,
        cause: Metadata | None = None,
        to: str = "",
        traceparent: str | None = None,
    ) -> Metadata:
        """
        Publish an event that starts a chain, or continues that of `cause`. Returns the record's
        metadata; its source is the topic's one writer. `to`: put it on that topic instead, a
        group's replay topic of `topic`.
        """
        metadata = Metadata(
            id=EventId(UUID(int=self._ids.getrandbits(128), version=4)),
            type=event.type_name(),
            source=self._writers.get(topic) or "/bus",
            time=event.happened_at,
            subject=event.subject,
            correlation_id=cause.correlation_id if cause else event.subject,
            causation_id=str(cause.id) if cause else None,
            traceparent=traceparent,
        )

        value = self._encoder.encode(topic, event)  # type: ignore[arg-type]
        self.append([(to or topic, event.key.encode(), value, to_headers(metadata))])
        return metadata

    def append(self, records: Iterable[Produced]) -> None:
        """Put records on their topics as they are, bad ones too."""
        for record in records:
            self.broker.append([record])
            if self._draw.random() < self.faults.repeat:
                self._later.append(record)

    def run(self, turns_max: int = TURNS_MAX) -> int:
        """
        Deliver until every group has committed all of its topics, and every store is restored; how
        many turns it took.

        Raises Stuck if `turns_max` turns are not enough, and whatever ends a container.
        """
        workers = [worker for workers in self.workers.values() for worker in workers]
        for turn in range(turns_max):
            due = [worker for worker in workers if worker.client.is_due()]
            if self._later and (not due or self._draw.random() < REPEAT_CHANCE):
                self.broker.append([self._later.pop(self._draw.randrange(len(self._later)))])
            elif due:
                self._turn(self._draw.choice(due))
            elif not any(self._lags().values()) and self._all_restored():
                return turn
            else:
                self.clock.advance_to(min(worker.client.wakes_at for worker in workers))

        lags = ", ".join(f"{name}: {lag}" for name, lag in self._lags().items() if lag)
        raise Stuck(f"after {turns_max} turns records are still unfinished ({lags})")

    def records(self, topic: str) -> list[Message]:
        """What is on a topic, in the order in which it was published: order counts per key."""
        return self.broker.records(topic)

    def events(self, topic: str) -> list[tuple[Metadata, dict[str, Any]]]:
        """Metadata and fields by wire name of every record on a topic."""
        return [
            (record.metadata, self._decoder.decode(record.value())[1])
            for record in self.broker.records(topic)
        ]

    def _turn(self, worker: Worker) -> None:
        worker.turn()
        if self._draw.random() < self.faults.crash:
            worker.restart()

    def _lags(self) -> dict[str, int]:
        return {
            listener.name: self.broker.lag(listener.group, listener.subscribed)
            for listener in self._listeners
        }

    def _all_restored(self) -> bool:
        """Whether every table has somebody with its store, on every partition."""
        stateful = [it for it in self._listeners if isinstance(it.delivery, Stateful)]
        tables = sum(len(listener.topics) - 1 for listener in stateful)
        active = [
            task
            for listener in stateful
            for worker in self.workers[listener.name]
            for task in worker.local.tasks.values()
            if task.state is TaskState.ACTIVE
        ]
        return len(active) == tables * self.broker.partitions

    def _worker(self, listener: Listener, slot: int) -> Worker:
        settings = ContainerSettings(
            listener=listener,
            kafka=KafkaSettings(),
            registry=RegistrySettings(),
            catalogue=self._catalogue,
            slot=slot,
            records_max=self.faults.wave_max,
            log_records=False,
        )
        return Worker(lambda worker: self._container(settings, worker))

    def _container(self, settings: ContainerSettings, worker: Worker) -> Container:
        def connect(settings: ContainerSettings, *, between: Callable[[], None]) -> MemoryClient:
            worker.client = MemoryClient(
                settings, between=between, broker=self.broker, clock=self.clock
            )
            return worker.client

        worker.local = LocalState()
        state = StateParts(
            worker.stores,
            lambda: MemoryChangelogReader(self.broker, piece_max=worker.piece_max),
            worker.local,
        )
        return Container(
            settings,
            connect=connect,
            state=state if isinstance(settings.listener.delivery, Stateful) else None,
            registry=self.registry,
            database=self._databases.get(settings.listener.name),
            calls=self._calls,
            clock=self.clock,
        )


class _Relayed:
    """
    A listener's database with a relay behind it: outbox rows are published when their transaction
    is committed.
    """

    def __init__(self, database: EffectDatabase, *, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._rows: list[RowTexts] = []

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        self._rows = []
        with self._database.transaction() as cursor:
            yield cursor
            if self._bus.broker.draw.random() < self._bus.faults.abort:
                raise Unavailable("the database went away before the commit", resource="database")
        self._bus.append(
            (row.topic, row.key.encode(), row.payload, row.headers) for row in self._rows
        )

    def claim(self, cursor: Cursor, listener: str, event_ids: Sequence[str]) -> set[str]:
        return self._database.claim(cursor, listener, event_ids)

    def append(self, cursor: Cursor, rows: Sequence[RowTexts]) -> None:
        self._rows += rows
        self._database.append(cursor, rows)
