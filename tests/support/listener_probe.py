"""
A listener that belongs to the tests: its own topic, group and database, workers as processes, and
a diary with a line for each record of each call of the handler (effects alone would hide a
repeated call, because of the inbox).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families
from tests.support.databases import database_settings
from tests.support.probe_language import Asked, asked, catalogue, topics
from tests.support.records import metadata
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.event import CE_CAUSATION_ID, CE_ID, to_headers
from orderflow.messaging.kafka import admin, clients
from orderflow.messaging.kafka import finished_offsets as offsets
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.reader import ConsumerRecord, end_offsets, read
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.postgres import inbox, outbox
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registration import apply
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually

ROOT = Path(__file__).parents[2]


class Call(NamedTuple):
    """One record in one call of the handler."""

    pid: int
    key: str
    number: int
    place: str


@dataclass
class Worker:
    popen: subprocess.Popen[bytes]
    log: Path
    ready: Path

    @property
    def reasons(self) -> list[str] | None:
        """Why it is not ready; None before it has written its state for the first time."""
        return (
            self.ready.read_text().split("\n")
            if self.ready.exists() and self.ready.read_text()
            else None
        )

    @property
    def is_ready(self) -> bool:
        assert self.popen.poll() is None, f"ended by itself:\n{self.log.read_text()}"
        return self.ready.exists() and not self.ready.read_text()

    def metric(self, name: str) -> float:
        """A metric's sum over its labels, as it was when the worker stopped."""
        families = text_string_to_metric_families(self.ready.with_suffix(".metrics").read_text())
        return sum(
            sample.value for family in families for sample in family.samples if sample.name == name
        )

    def record_lines(self) -> list[dict[str, Any]]:
        """The log lines about single records, so far."""
        lines = [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines()]
        return [line for line in lines if line["logger"] == "record"]

    def terminate(self, within_s: float = 15) -> int:
        self.popen.terminate()
        return self.popen.wait(within_s)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)


@dataclass
class Probe:
    """`produced`: the event ids by key, in the order in which they were produced."""

    stack: Stack
    name: str
    partitions: int
    encoder: Encoder
    database_url: str
    directory: Path
    running: ExitStack
    produced: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def group(self) -> str:
        return f"{self.name}-group"

    @property
    def dlt(self) -> str:
        return f"{self.name}.{self.group}.dlt"

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)

    @property
    def diary(self) -> Path:
        return self.directory / f"{self.name}.diary"

    @property
    def broken(self) -> Path:
        return self.directory / f"{self.name}.broken"

    @cached_property
    def producer(self) -> clients.Producer:
        return clients.producer(self.kafka, **{"linger.ms": 5})

    def worker(
        self,
        delivery: str,
        *,
        slot: int = 0,
        failpoints: str = "",
        wait: bool = True,
        **settings: Any,
    ) -> Worker:
        """
        Start a worker, and unless `wait` is false wait until it is a ready member of the group.
        """
        values = {
            "name": self.name,
            "group": self.group,
            "partitions": self.partitions,
            "delivery": delivery,
            "slot": slot,
            "diary": self.diary,
            "broken": self.broken,
            "ready": self.directory / f"{self.name}-{slot}-{uuid4().hex[:6]}.ready",
            "database__dsn": self.database_url,
            **settings,
        }
        environment = {
            **self.stack.service_environment,
            **{
                f"ORDERFLOW_PROBE__{name.upper()}": value
                if isinstance(value, str)
                else _text(value)
                for name, value in values.items()
            },
            "ORDERFLOW_FAILPOINTS": failpoints,
        }

        log = self.directory / f"{self.name}-{slot}-{uuid4().hex[:6]}.log"
        with log.open("wb") as sink:
            popen = subprocess.Popen(
                [sys.executable, "-m", "tests.support.listener_probe_worker"],
                env=environment,
                stderr=sink,
                cwd=ROOT,
            )
        self.running.callback(_end, popen)

        worker = Worker(popen=popen, log=log, ready=Path(str(values["ready"])))
        if wait:
            eventually(lambda: worker.is_ready, within_s=60, why=f"worker {slot} is ready")
        return worker

    def produce(self, events: Iterable[Asked], *, partition: int = -1) -> None:
        """Produce events, and wait until the broker has them."""
        for event in events:
            self.produced[event.key].append(self.produce_one(event, partition=partition))
        assert self.producer.flush(30) == 0

    def produce_one(self, event: Asked, *, event_id: str | None = None, partition: int = -1) -> str:
        """Produce an event, as a repeat if the id of an earlier one is given; its id."""
        described = metadata(event, UUID(event_id) if event_id else None)
        value = self.encoder.encode(self.name, event)
        self.send(event.key.encode(), value, to_headers(described), partition)
        return str(described.id)

    def send(
        self, key: bytes | None, value: bytes | None, headers: Any, partition: int = -1
    ) -> None:
        while True:
            try:
                self.producer.produce(self.name, value, key, partition=partition, headers=headers)
                return
            except BufferError:
                self.producer.poll(0.1)

    def produce_each(self, keys: Iterable[str], numbers: Iterable[int]) -> None:
        """Produce an event of every key for every number."""
        keys = list(keys)
        self.produce(asked(key, number) for number in numbers for key in keys)

    def calls(self) -> list[Call]:
        if not self.diary.exists():
            return []
        lines = self.diary.read_text().splitlines()
        return [
            Call(int(pid), key, int(number), place)
            for pid, key, number, place in map(str.split, lines)
        ]

    def effects(self) -> dict[str, list[str]]:
        """Event ids by key, in the order of their effects in the database."""
        effects: dict[str, list[str]] = defaultdict(list)
        with postgres.connect(
            database_settings(self.database_url), application_name="probe"
        ) as connection:
            for event_id, key in connection.execute(
                "SELECT event_id, key FROM effect ORDER BY position"
            ):
                effects[key].append(str(event_id))
        return effects

    def outputs(self) -> dict[str, list[str]]:
        """The ids of the causes of the published records, by key, in the order of the topic."""
        causes: dict[str, list[str]] = defaultdict(list)
        for record in self.records(f"{self.name}-told"):
            assert record.key is not None
            causes[record.key.decode()].append(header(record, CE_CAUSATION_ID))
        return causes

    def output_ids(self) -> Counter[str]:
        return Counter(header(record, CE_ID) for record in self.records(f"{self.name}-told"))

    def records(self, topic: str) -> list[ConsumerRecord]:
        return [record for record in read(self.kafka, topic, follow=False) if record is not None]

    def delete_dead_letter_topic(self) -> None:
        """It is gone when this returns; `create_dead_letter_topic` makes a new one."""
        client, cluster = AdminClient(clients.client_config(self.kafka)), admin.Admin(self.kafka)
        client.delete_topics([self.dlt])[self.dlt].result(timeout=20)
        eventually(lambda: not cluster.find([self.dlt]), within_s=20, why="the topic is gone")

    def create_dead_letter_topic(self) -> None:
        cluster, (inputs, _outputs) = admin.Admin(self.kafka), topics(self.name, self.partitions)
        wanted = [dead_letter_topic(inputs, self.group)]
        admin.apply(admin.plan(wanted, cluster, TopicSettings()), cluster)

    def dead(self) -> list[ConsumerRecord]:
        return self.records(self.dlt)

    def outcome(self, delivery: str) -> dict[str, list[str]]:
        return self.outputs() if delivery == "exactly-once" else self.effects()

    def committed(self) -> dict[int, offsets.Window]:
        """
        What the group has committed, by partition: the offset with the window in its metadata.
        """
        consumer = clients.consumer(self.kafka, self.group)
        try:
            partitions = [
                clients.TopicPartition(self.name, number) for number in range(self.partitions)
            ]
            answers = consumer.committed(partitions, timeout=10)
        finally:
            consumer.close()

        return {
            tp.partition: offsets.decode(tp.metadata, offset=tp.offset)
            for tp in answers
            if tp.offset >= 0
        }

    def lag(self) -> int:
        """How far the group's offsets are behind the ends of its partitions: 0 at rest."""
        committed = self.committed()
        nothing = offsets.Window(0, ())
        ends = end_offsets(self.kafka, self.name)
        return sum(end - committed.get(number, nothing).base for number, end in ends.items())

    def unfinished(self) -> int | None:
        """
        How many records the commits leave unfinished; None while some lie beyond the committed
        windows.
        """
        committed = self.committed()
        ends = end_offsets(self.kafka, self.name)
        if any(
            end and (number not in committed or committed[number].end < end)
            for number, end in ends.items()
        ):
            return None
        return sum(len(window.unfinished) for window in committed.values())

    def assert_each_once_in_order(
        self, delivery: str, *, within_s: float = 60, without: Iterable[str] = ()
    ) -> None:
        """
        Every produced event had one effect, in order per key, except `without`; nothing else had
        an effect.
        """
        missing = set(without)
        expected = {
            key: kept
            for key, ids in self.produced.items()
            if (kept := [event_id for event_id in ids if event_id not in missing])
        }
        size = sum(map(len, expected.values()))

        eventually(
            lambda: sum(map(len, self.outcome(delivery).values())) >= size,
            within_s=within_s,
            every_s=0.5,
            why=f"{size} effects are there",
        )
        assert dict(self.outcome(delivery)) == expected


@contextmanager
def listener_probe(stack: Stack, directory: Path, *, partitions: int = 3) -> Iterator[Probe]:
    """Create its topics, schemas and database; no worker runs yet."""
    name = f"probe{uuid4().hex[:8]}"
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    inputs, outputs = topics(name, partitions)
    group = f"{name}-group"
    every = (
        inputs,
        outputs,
        dead_letter_topic(inputs, group),
        replay_topic(inputs, group),
    )
    cluster = admin.Admin(kafka)
    admin.apply(admin.plan(every, cluster, TopicSettings(partitions=partitions)), cluster)

    registry = Registry(RegistrySettings(url=stack.registry_url))
    apply(catalogue(name), registry)
    encoder = Encoder.load(registry, catalogue(name))
    registry.close()

    url = stack.create_database(name)
    with postgres.connect(database_settings(url), application_name="probe") as connection:
        connection.execute(inbox.DDL.encode())
        connection.execute(outbox.ddl([outputs.name]).encode())
        connection.execute(_EFFECT.encode())

    with ExitStack() as running:
        yield Probe(
            stack=stack,
            name=name,
            partitions=partitions,
            encoder=encoder,
            database_url=url,
            directory=directory,
            running=running,
        )
    with postgres.connect(
        database_settings(stack.postgres_url("postgres")), application_name="probe", autocommit=True
    ) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def header(record: ConsumerRecord, name: str) -> str:
    value = dict(record.headers)[name]
    assert value is not None
    return value.decode()


def _text(value: object) -> str:
    return str(value) if isinstance(value, Path | int) else msgspec.json.encode(value).decode()


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.send_signal(signal.SIGCONT)  # A process that is stopped delays its own end.
        popen.kill()
    popen.wait(10)


_EFFECT = """
CREATE TABLE effect (
    event_id uuid PRIMARY KEY,
    key text NOT NULL,
    number integer NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY
)
"""
