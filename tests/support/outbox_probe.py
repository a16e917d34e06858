"""
A service that belongs to the tests: its own database, topic, outbox and relay, by the kit alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from tests.support.databases import database_settings
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.event import CE_ID, EventId, Metadata
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.postgres import outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.messaging.relay import RelaySettings
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually

PARTITIONS = 3
ROOT = Path(__file__).parents[2]


@dataclass
class RelayProcess:
    popen: subprocess.Popen[bytes]
    log: Path

    def logged(self, words: str) -> bool:
        return words in self.log.read_text()

    def wait(self, within_s: float = 60) -> int:
        return self.popen.wait(within_s)


@dataclass
class Probe:
    """
    One probe service. `committed`: the ids whose transactions committed, by key in commit order.
    """

    stack: Stack
    name: str
    topic: str
    database_url: str
    logs: Path
    running: ExitStack
    committed: dict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)
    last: RelayProcess | None = None
    """Of the relays, and resyncs, the one that was started last."""

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)

    @property
    def settings(self) -> RelaySettings:
        database = database_settings(self.database_url)
        return RelaySettings(service=self.name, database=database, kafka=self.kafka)

    def relay(
        self, *, failpoints: str = "", database_url: str | None = None, wait: bool = True
    ) -> RelayProcess:
        """Start a relay, and unless `wait` is false wait until it streams or stands by."""
        process = self._start(failpoints=failpoints, database_url=database_url)
        if wait:

            def streams() -> bool:
                return process.logged("the relay streams") or process.logged("the relay stands by")

            eventually(streams, within_s=60, why=f"the relay of {self.name} streams")
        return process

    def caretaker(self) -> RelayProcess:
        """Start a caretaker, and wait until another reader may have the slot."""
        process = self._start("caretaker", failpoints="", database_url=None)
        eventually(
            lambda: process.logged("the position follows the slot") or process.popen.poll(),
            within_s=60,
            why=f"the caretaker of {self.name} follows",
        )
        return process

    def set_record_bytes_max(self, bytes_max: int) -> None:
        """What the topic takes from now on: `max.message.bytes`."""
        admin = AdminClient({"bootstrap.servers": self.stack.bootstrap_servers})
        change = ConfigResource(
            ResourceType.TOPIC,
            self.topic,
            incremental_configs=[
                ConfigEntry(
                    "max.message.bytes",
                    str(bytes_max),
                    incremental_operation=AlterConfigOpType.SET,
                )
            ],
        )
        admin.incremental_alter_configs([change])[change].result(20)

    def resync(self, *, failpoints: str = "", database_url: str | None = None) -> RelayProcess:
        """Run a resync until it ends or is killed."""
        process = self._start("resync", failpoints=failpoints, database_url=database_url)
        process.wait()
        return process

    def _start(self, *arguments: str, failpoints: str, database_url: str | None) -> RelayProcess:
        log = self.logs / f"{self.name}-{uuid4().hex[:6]}.log"
        environment = {
            **self.stack.service_environment,
            "ORDERFLOW_PROBE__SERVICE": self.name,
            "ORDERFLOW_PROBE__DATABASE__DSN": database_url or self.database_url,
            "ORDERFLOW_FAILPOINTS": failpoints,
        }

        with log.open("wb") as sink:
            popen = subprocess.Popen(
                [sys.executable, "-m", "tests.support.outbox_probe_relay", *arguments],
                env=environment,
                stderr=sink,
                cwd=ROOT,
            )
        self.running.callback(_end, popen)
        self.last = RelayProcess(popen=popen, log=log)
        return self.last

    @contextmanager
    def connection(self) -> Iterator[postgres.Connection]:
        with postgres.connect(
            database_settings(self.database_url), application_name="probe"
        ) as connection:
            yield connection

    def write(
        self,
        connection: postgres.Connection,
        key: str,
        *,
        hold: Callable[[], None] = lambda: None,
        keep: bool = True,
        size: int = 40,
    ) -> UUID:
        """
        Run a transaction with one row of `size` bytes: insert, call `hold`, then commit, or roll
        back if not `keep`. Returns the event's id.
        """
        row = _row(self.topic, key, size)
        with connection.cursor() as cursor:
            outbox.append(cursor, [row])
        hold()
        if keep:
            connection.commit()
            with self.lock:
                self.committed[key].append(row.metadata.id)
        else:
            connection.rollback()
        return row.metadata.id

    def write_together(self, keys: list[str], *, size: int = 40) -> None:
        """One transaction with a row for each of `keys`."""
        rows = [_row(self.topic, key, size) for key in keys]
        with self.connection() as connection, connection.cursor() as cursor:
            outbox.append(cursor, rows)
            connection.commit()
        with self.lock:
            for row in rows:
                self.committed[row.key].append(row.metadata.id)

    def write_all(self, keys: list[str], *, each: int) -> None:
        with self.connection() as connection:
            for _ in range(each):
                for key in keys:
                    self.write(connection, key)

    def expected(self) -> Counter[str]:
        return Counter(str(event_id) for ids in self.committed.values() for event_id in ids)

    def published(self) -> dict[str, list[str]]:
        """The committed records' ids by key, in the order of the topic."""
        ids: dict[str, list[str]] = defaultdict(list)
        for record in read(self.kafka, self.topic, follow=False):
            if record is not None and record.key is not None:
                event_id = dict(record.headers)[CE_ID]
                assert event_id is not None
                ids[record.key.decode()].append(event_id.decode())
        return ids

    def assert_each_once_in_order(self, *, within_s: float = 60) -> None:
        """Each committed row is on the topic once, in commit order per key, and nothing else is."""
        size = sum(self.expected().values())
        eventually(
            lambda: sum(map(len, self.published().values())) >= size, within_s=within_s, every_s=0.5
        )
        published = self.published()
        assert (
            Counter(event_id for ids in published.values() for event_id in ids) == self.expected()
        )
        assert published == {
            key: [str(event_id) for event_id in ids] for key, ids in self.committed.items()
        }


@contextmanager
def probe_service(stack: Stack, logs: Path) -> Iterator[Probe]:
    """
    Create its topic and database; no relay runs yet. Afterwards its slot and database are dropped.
    """
    name = f"probe{uuid4().hex[:8]}"

    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    topics = [NewTopic(name, PARTITIONS, 1), NewTopic("relay-positions", 1, 1)]
    for creation in admin.create_topics(topics).values():
        with suppress(Exception):  # An earlier probe may have created relay-positions.
            creation.result(30)
    eventually(
        lambda: len(admin.list_topics(name, timeout=5).topics[name].partitions) == PARTITIONS,
        within_s=20,
    )

    url = _database(stack, name, topic=name)
    with ExitStack() as running:
        yield Probe(
            stack=stack, name=name, topic=name, database_url=url, logs=logs, running=running
        )
    drop_slot(stack, name)
    _server(stack, f"DROP DATABASE {name} WITH (FORCE)")


def other_database(probe: Probe) -> str:
    """Another database with the same tables: one that the relay was pointed at by mistake."""
    name = f"{probe.name}_other"
    probe.running.callback(_server, probe.stack, f"DROP DATABASE {name} WITH (FORCE)")
    return _database(probe.stack, name, topic=probe.topic)


def drop_slot(stack: Stack, name: str) -> None:
    drop = (
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        f" WHERE slot_name = 'relay_{name}'"
    )
    eventually(lambda: _server(stack, drop), within_s=30, why="nobody reads the slot any more")


def forget_position(probe: Probe) -> bool:
    admin = AdminClient({"bootstrap.servers": probe.stack.bootstrap_servers})
    group = f"relay.{probe.name}"
    admin.delete_consumer_groups([group], request_timeout=20)[group].result(30)
    return True


def _database(stack: Stack, name: str, *, topic: str) -> str:
    url = stack.create_database(name)
    with postgres.connect(database_settings(url), application_name="probe") as connection:
        connection.execute(outbox.ddl([topic]).encode())
    return url


def _server(stack: Stack, statement: str) -> bool:
    settings = database_settings(stack.postgres_url("postgres"))
    with postgres.connect(settings, application_name="probe", autocommit=True) as connection:
        connection.execute(statement.encode())
    return True


def _row(topic: str, key: str, size: int) -> OutboxRow:
    metadata = Metadata(
        id=EventId(uuid4()),
        type="probe.Written",
        source="/probe",
        time=datetime.now(UTC),
        subject=key,
        correlation_id=key,
    )
    return OutboxRow(topic=topic, key=key, payload=os.urandom(size), metadata=metadata)


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.kill()
    popen.wait(10)
