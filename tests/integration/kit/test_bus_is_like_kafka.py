"""
The bus and Kafka give the same output for the same input: ids, bytes, order, dead letters, lag.

The containers are the same on both; what is compared is the client in memory with the real one.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import pytest
from tests.support.databases import database_settings, empty_database
from tests.support.probe_language import DAYS_7, NAMESPACE, Asked, Ignored, Told, catalogue, topics
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.deliveries.effect_database import PostgresEffects
from orderflow.messaging.dead_letters.letter import without_evidence
from orderflow.messaging.event import EventId, Metadata, to_headers
from orderflow.messaging.kafka import admin, clients
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.kafka.topics import Topic, TopicSettings
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import (
    Caused,
    ExactlyOnce,
    InboxOutbox,
    Listener,
    Received,
    RetryPolicy,
)
from orderflow.messaging.postgres import Cursor, inbox, outbox
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.schemas.registration import apply
from orderflow.messaging.schemas.registry import Registry, SchemaLookup
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings, RegistrySettings
from orderflow.messaging.testing.bus import Bus, Faults
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.testing.registry import InMemoryRegistry

BEGAN = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
KEYS = [f"key-{number}" for number in range(8)]
EVIDENCE = ("kafka_dlt-exception-fqcn", "kafka_dlt-original-topic", "retry_topic-attempts")
Output = dict[str, list[tuple[object, ...]]]


class Flow:
    """
    `name` is told (exactly once) on `name-told`, and what is told there is counted (inbox) for
    `name-counted`.
    """

    def __init__(self, name: str) -> None:
        self.asked, self.told = topics(name, 3)
        self.counted = Topic(
            name=f"{name}-counted", key="id", retention=DAYS_7, types=(Ignored.type_name(),)
        )
        retry = RetryPolicy(back_off_s=(0.05, 0.05))
        self.teller = Listener(
            name=f"{name}-teller",
            group=f"{name}-tellers",
            source="/teller",
            namespace=NAMESPACE,
            topics=(self.asked,),
            handles=(Asked,),
            publishes=(self.told,),
            delivery=ExactlyOnce(handler=tell),
            retry=retry,
        )
        self.counter = Listener(
            name=f"{name}-counter",
            group=f"{name}-counters",
            source="/counter",
            namespace=NAMESPACE,
            topics=(self.told,),
            handles=(Told,),
            publishes=(self.counted,),
            delivery=InboxOutbox(handler=count),
            retry=retry,
        )

    @property
    def topics(self) -> list[Topic]:
        derived = [
            make(topic, listener.group)
            for listener in (self.teller, self.counter)
            for topic in listener.topics
            for make in (dead_letter_topic, replay_topic)
        ]
        return [self.asked, self.told, self.counted, *derived]

    @property
    def dlts(self) -> list[str]:
        return [topic.name for topic in self.topics if topic.name.endswith(".dlt")]

    def catalogue(self) -> SchemaCatalogue:
        base = catalogue(self.asked.name)
        schemas = [schema for name in base.types for schema in base.versions(name)]
        return SchemaCatalogue(
            schemas, {topic.name: topic.types for topic in (self.asked, self.told, self.counted)}
        )

    def input(self, registry: SchemaLookup) -> list[Produced]:
        """Good, failing, foreign, repeated and poisoned records; the same for every caller."""
        encoder = Encoder.load(registry, self.catalogue())
        made: list[Produced] = []
        for number in range(12):
            for key in KEYS:
                made.append(self._record(encoder, Asked(id=key, number=number, at=moment(number))))
        made.insert(
            30, self._record(encoder, Asked(id="key-3", number=99, behaviour="fail", at=moment(0)))
        )
        made.insert(40, self._record(encoder, Ignored(id="key-1", number=98, at=moment(0))))
        made.insert(50, (self.asked.name, b"key-2", b"junk", [("x", b"y")]))
        made.insert(60, (self.asked.name, b"key-2", None, made[60][3]))
        made.insert(
            70, self._record(encoder, Asked(id="key-5", number=97, behaviour="mute", at=moment(0)))
        )
        # Repeats: answered again, under the same ids, and counted once.
        made += [made[0], made[9]]
        return made

    def _record(self, encoder: Encoder, event: Asked) -> Produced:
        metadata = Metadata(
            id=EventId(uuid5(NAMESPACE, f"{event.id}/{event.number}")),
            type=event.type_name(),
            source="/test",
            time=event.at,
            subject=event.id,
            correlation_id=f"chain of {event.id}",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        return (
            self.asked.name,
            event.key.encode(),
            encoder.encode(self.asked.name, event),
            to_headers(metadata),
        )


def moment(number: int) -> datetime:
    return BEGAN + timedelta(milliseconds=number)


def tell(batch: Sequence[Received]) -> Iterable[Caused]:
    """Two of each, so that the ids' numbers count; nothing about some; some can't be told."""
    if any(record.event.behaviour == "fail" for record in batch):
        raise ValueError("told to fail")
    for record in batch:
        if record.event.behaviour != "mute":
            for behaviour in ("first", "second"):
                yield (
                    record,
                    Told(
                        id=record.event.id,
                        number=record.event.number,
                        behaviour=behaviour,
                        at=record.event.at,
                    ),
                )


def count(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """How many there are of a key by now: wrong as soon as one ran twice, never, or too early."""
    cursor.execute(COUNT, (postgres.array([record.event.id for record in batch]),))
    counts: dict[str, int] = dict(cursor.fetchall())
    return [
        (
            record,
            Ignored(
                id=record.event.id,
                number=counts[record.event.id],
                behaviour=record.event.behaviour,
                at=record.event.at,
            ),
        )
        for record in batch
    ]


COUNT = """
INSERT INTO counted SELECT unnest(%s::text[]), 1
ON CONFLICT (key) DO UPDATE SET times = counted.times + 1 RETURNING key, times
"""


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow(f"flow{uuid4().hex[:8]}")


@contextmanager
def database(stack: Stack, flow: Flow) -> Iterator[DatabaseSettings]:
    with empty_database(stack, "flow") as url:
        settings = database_settings(url)
        with postgres.connect(settings, application_name="test") as connection:
            for ddl in (
                inbox.DDL,
                outbox.ddl([flow.counted.name]),
                "CREATE TABLE counted (key text PRIMARY KEY, times int)",
            ):
                connection.execute(ddl.encode())
        yield settings


def rows(settings: DatabaseSettings) -> Output:
    output: Output = defaultdict(list)
    columns = (
        "aggregateid, id, type, payload, ce_source, ce_time, ce_causationid, ce_correlationid, "
        "traceparent"
    )
    with postgres.connect(settings, application_name="test") as connection:
        for key, event_id, kind, payload, *rest in connection.execute(
            f"SELECT {columns} FROM outbox ORDER BY sequence".encode()
        ):
            assert isinstance(event_id, UUID)
            output[key].append((event_id, kind, bytes(payload)[5:], *rest))
    return output


def by_key(
    records: Iterable[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
) -> Output:
    """Without the frame: each registry gives its own schema ids."""
    output: Output = defaultdict(list)
    for key, value, headers in records:
        output[(key or b"").decode()].append(((value or b"")[5:], tuple(headers)))
    return output


def letters(
    records: Iterable[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
) -> Output:
    return by_key(
        (
            key,
            value,
            [*without_evidence(headers), *(pair for pair in headers if pair[0] in EVIDENCE)],
        )
        for key, value, headers in records
    )


@pytest.fixture(scope="module")
def on_kafka(stack: Stack, flow: Flow) -> Iterator[tuple[Output, Output, Output]]:
    """What is told, counted and given up, by Kafka and two containers."""
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    cluster = admin.Admin(kafka)
    admin.apply(admin.plan(flow.topics, cluster, TopicSettings()), cluster)
    registry_settings = RegistrySettings(url=stack.registry_url)
    registry = Registry(registry_settings)
    apply(flow.catalogue(), registry)
    made = flow.input(registry)
    registry.close()
    producer = clients.producer(kafka)
    for topic, key, value, headers in made:
        producer.produce(topic, value, key, headers=headers)
    assert producer.flush(20) == 0

    def records(
        topic: str,
    ) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
        return [
            (record.key, record.value, record.headers)
            for record in read(kafka, topic, follow=False)
            if record is not None
        ]

    with database(stack, flow) as settings:
        stop = threading.Event()
        containers = [
            Container(
                ContainerSettings(
                    listener=listener,
                    kafka=kafka,
                    registry=registry_settings,
                    catalogue=flow.catalogue(),
                    database=settings,
                )
            )
            for listener in (flow.teller, flow.counter)
        ]
        threads = [threading.Thread(target=container.run, args=(stop,)) for container in containers]
        for thread in threads:
            thread.start()
        try:
            expected = 2 * 12 * len(KEYS)
            eventually(
                lambda: sum(map(len, rows(settings).values())) >= expected, within_s=60, every_s=0.3
            )
            eventually(lambda: len(records(flow.dlts[0])) >= 3, within_s=20, every_s=0.3)
            # What waited, was skipped or repeated, and every marker: all of it is committed.
            eventually(lambda: _lag(flow, kafka) == 0, within_s=20, every_s=0.3)
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
        given_up = letters(record for dlt in flow.dlts for record in records(dlt))
        yield by_key(records(flow.told.name)), rows(settings), given_up


def _lag(flow: Flow, kafka: KafkaSettings) -> int:
    groups = {
        listener.group: tuple(listener.subscribed) for listener in (flow.teller, flow.counter)
    }
    return sum(lag.records for lag in lags(kafka, groups))


@pytest.mark.parametrize("seed", range(5))
def test_the_bus_gives_what_kafka_gives_whatever_is_struck_on_the_way(
    stack: Stack, flow: Flow, on_kafka: tuple[Output, Output, Output], seed: int
) -> None:
    kafka_output, counted, given_up = on_kafka
    assert sum(map(len, kafka_output.values())) == 2 * 12 * len(KEYS) + 2 * 2
    assert sum(map(len, counted.values())) == 2 * 12 * len(KEYS)
    assert sum(map(len, given_up.values())) == 3
    faults = (
        Faults()
        if seed == 0
        else Faults(
            abort=0.2, unknown=0.1, expel=0.05, refuse=0.2, crash=0.1, wave_max=1 + 3 * seed
        )
    )
    with database(stack, flow) as settings:
        session = postgres.Session(settings, application_name="bus")
        bus = Bus(
            (flow.teller, flow.counter),
            catalogue=flow.catalogue(),
            databases={flow.counter.name: PostgresEffects(session)},
            seed=seed,
            faults=faults,
        )
        bus.append(flow.input(InMemoryRegistry.holding(flow.catalogue())))
        bus.run()
        session.close()

        def records(
            topic: str,
        ) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
            return [
                (record.key(), record.value(), list(record.headers()))
                for record in bus.records(topic)
            ]

        assert by_key(records(flow.told.name)) == kafka_output
        assert rows(settings) == counted
        assert letters(record for dlt in flow.dlts for record in records(dlt)) == given_up
        assert len(bus.records(flow.counted.name)) == sum(map(len, counted.values()))
