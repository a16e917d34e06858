"""
Any of our services as processes of their own, with a database of its own, against a stack of a test; what it hears is
produced here, as bytes or as events, and what it says is read back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.support.databases import empty_database
from tests.support.order_service import database_settings
from tests.support.stack import Stack

from orderflow.contracts.events import Event
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.event import CE_CAUSATION_ID, CE_ID, CE_TYPE, EventId, Metadata, to_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import ConsumerRecord, end_offsets, read
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST, free_ports

KILLED = -signal.SIGKILL

_STARTED = count()
"""Processes that start at the same time must not be given the same port."""


@dataclass(frozen=True, slots=True)
class Process:
    popen: subprocess.Popen[bytes]
    client: httpx2.Client
    log: Path

    @property
    def reasons(self) -> list[str]:
        """What `/readyz` says is missing."""
        assert self.popen.poll() is None, f"ended by itself:\n{self.log.read_text()}"
        return list(self.client.get("/readyz").json()["reasons"])

    def ready(self) -> bool:
        return not self.reasons

    @property
    def outcomes(self) -> Counter[str]:
        """What its listener's records came to, since it was started: handled, skipped, dead, repeat."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = [
            one
            for family in families
            if family.name == "orderflow_listener_records"
            for one in family.samples
        ]
        found = {
            one.labels["outcome"]: int(one.value) for one in samples if one.name.endswith("_total")
        }
        return Counter({outcome: count for outcome, count in found.items() if count})

    def terminate(self, *, within_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        self.popen.terminate()
        return self.popen.wait(within_s)

    def resume(self) -> None:
        """Go on after a failpoint that stopped it."""
        self.popen.send_signal(signal.SIGCONT)

    def assert_killed(self, *, within_s: float = 60) -> None:
        """It came to the failpoint at which it was to die."""
        assert self.popen.wait(within_s) == KILLED, f"not killed, but:\n{self.log.read_text()}"


@dataclass(frozen=True)
class Service:
    """A service by `name`, deployed; processes start on demand and end with the test."""

    stack: Stack
    name: str
    group: str
    hears: tuple[str, ...]
    logs: Path
    database_url: str
    running: ExitStack
    module: str = ""
    """What to run, if it is none of our services; `name` is that of its section among the settings then."""

    @cached_property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)

    @cached_property
    def environment(self) -> dict[str, str]:
        section = f"ORDERFLOW_{self.name.upper()}__"
        return {**self.stack.service_environment, f"{section}DATABASE__DSN": self.database_url}

    def migrate(self) -> None:
        subprocess.run(
            self._command("migrate", 0),
            env=self.environment,
            check=True,
            timeout=60,
            capture_output=True,
        )

    def start(self, roles: str, *, slot: int = 0, wait: bool = True, **environment: str) -> Process:
        """Start a process with `roles`, and unless told otherwise wait until it is ready."""
        [port] = free_ports(1, start=os.getpid() * 7 + 5_000 + next(_STARTED) * 20)
        asked = roles.split(",")
        face = "api" if "api" in asked else asked[0]
        # A listener and a sender add their slots to their ports.
        told = {
            f"ORDERFLOW_{self.name.upper()}__{face.upper()}__PORT": str(
                port - slot * (face in ("listener", "sender"))
            )
        }
        log = self.logs / f"{self.name}-{roles.replace(',', '-')}-{slot}-{uuid4().hex[:6]}.log"
        with log.open("wb") as sink:
            popen = subprocess.Popen(
                self._command(roles, slot),
                env={**self.environment, **told, **environment},
                stderr=sink,
            )
        self.running.callback(_end, popen)
        client = self.running.enter_context(
            httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=20, trust_env=False)
        )
        process = Process(popen=popen, client=client, log=log)
        if wait:
            eventually(process.ready, within_s=60, why=f"{self.name} {roles} is ready")
        return process

    @contextmanager
    def connection(self) -> Iterator[postgres.Connection]:
        with postgres.connect(
            database_settings(self.database_url), application_name="test"
        ) as connection:
            yield connection

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.connection() as connection:
            return connection.execute(query.encode()).fetchall()

    @cached_property
    def encoder(self) -> Encoder:
        registry = Registry(RegistrySettings(url=self.stack.registry_url))
        try:
            return Encoder.load(registry, CATALOGUE, self.hears)
        finally:
            registry.close()

    @cached_property
    def producer(self) -> clients.Producer:
        return clients.producer(self.kafka, **{"linger.ms": 5})

    def send(
        self,
        topic: str,
        event: Event,
        *,
        event_id: UUID | None = None,
        key: str | None = None,
        partition: int = -1,
        to: str | None = None,
    ) -> None:
        """
        Produce `event` as `topic` has it; `flush` waits for the broker. The same `event_id` again is a repeat.

        `to`: another topic, as a replay's, that stands for it.
        """
        headers = metadata_headers(event, event_id or uuid4())
        value = self.encoder.encode(topic, event)
        while True:
            try:
                self.producer.produce(
                    to or topic,
                    value,
                    (key or event.key).encode(),
                    partition=partition,
                    headers=headers,
                )
                return
            except BufferError:
                self.producer.poll(0.1)

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    def records(self, topic: str) -> list[ConsumerRecord]:
        """Its committed records."""
        return [record for record in read(self.kafka, topic, follow=False) if record is not None]

    def said(self, topic: str) -> list[Said]:
        """Its committed records by their headers."""
        return [Said.of(record) for record in self.records(topic)]

    def lag(self) -> int:
        """Committed offsets of its group behind the ends of what it hears; 0 at rest."""
        consumer = clients.consumer(self.kafka, self.group)
        try:
            ends = {
                (topic, partition): end
                for topic in self.hears
                for partition, end in end_offsets(self.kafka, topic).items()
            }
            asked = [clients.TopicPartition(topic, partition) for topic, partition in ends]
            committed = {
                (tp.topic, tp.partition): max(tp.offset, 0)
                for tp in consumer.committed(asked, timeout=10)
            }
        finally:
            consumer.close()
        return sum(end - committed[place] for place, end in ends.items())

    def eventually_at_rest(self, *, within_s: float = 90) -> None:
        eventually(
            lambda: self.lag() == 0,
            within_s=within_s,
            every_s=0.5,
            why=f"{self.group} has read everything",
        )

    def _command(self, roles: str, slot: int) -> list[str]:
        module = self.module or f"orderflow.services.{self.name}"
        return [sys.executable, "-m", module, "--roles", roles, "--slot", str(slot)]


@dataclass(frozen=True)
class Said:
    """A record, as far as its headers and its key tell."""

    id: str
    type: str
    key: str
    cause: str

    @classmethod
    def of(cls, record: ConsumerRecord) -> Said:
        headers: Mapping[str, bytes | None] = dict(record.headers)
        text = {
            name: (headers.get(name) or b"").decode() for name in (CE_ID, CE_TYPE, CE_CAUSATION_ID)
        }
        return cls(
            id=text[CE_ID],
            type=text[CE_TYPE].rpartition(".")[2],
            key=(record.key or b"").decode(),
            cause=text[CE_CAUSATION_ID],
        )


@contextmanager
def service_deployed(
    stack: Stack, logs: Path, name: str, *, group: str, hears: Sequence[str], module: str = ""
) -> Iterator[Service]:
    """Migrated, and no process yet. Topics and schemas must be there, and no slot or position of its relay."""
    with empty_database(stack, name) as url, ExitStack() as running:
        service = Service(
            stack=stack,
            name=name,
            group=group,
            hears=tuple(hears),
            logs=logs,
            database_url=url,
            running=running,
            module=module,
        )
        service.migrate()
        yield service


def is_stopped(pid: int) -> bool:
    """Has SIGSTOP reached it?"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def metadata_headers(event: Event, event_id: UUID) -> Any:
    return to_headers(
        Metadata(
            id=EventId(event_id),
            type=event.type_name(),
            source="/test",
            time=event.happened_at,
            subject=event.subject,
            correlation_id=event.subject,
        )
    )


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.send_signal(signal.SIGCONT)
        popen.kill()
    popen.wait(10)
