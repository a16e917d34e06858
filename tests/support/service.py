"""
Any of our services as processes, with a database of its own, against a test's stack. Tests produce
the records that it consumes, and read back the records that it publishes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.support import records
from tests.support.databases import database_settings, empty_database, migrate_service
from tests.support.documented import holding_to
from tests.support.products import add_demo_products
from tests.support.stack import Stack
from tests.support.stock import add_demo_stock

from orderflow.contracts.events import Envelope
from orderflow.contracts.roster import row
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import SOURCES
from orderflow.messaging import postgres
from orderflow.messaging.event import CE_CAUSATION_ID, CE_ID, CE_TYPE
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import ConsumerRecord, end_offsets, read
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.addresses import DEFAULT_PAYMENT_METHOD
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
        """What `/readyz` lists as missing, and what it waits for."""
        assert self.popen.poll() is None, f"ended by itself:\n{self.log.read_text()}"
        answer = self.client.get("/readyz").json()
        return [*answer["reasons"], *answer["degraded"]]

    def ready(self) -> bool:
        return not self.reasons

    @property
    def outcomes(self) -> Counter[str]:
        """Records of its listener since its start by outcome: handled, skipped, dead, repeat."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = [
            sample
            for family in families
            if family.name == "orderflow_listener_records"
            for sample in family.samples
        ]

        counts = {
            sample.labels["outcome"]: int(sample.value)
            for sample in samples
            if sample.name.endswith("_total")
        }
        return Counter({outcome: count for outcome, count in counts.items() if count})

    def terminate(self, *, within_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        self.popen.terminate()
        return self.popen.wait(within_s)

    def resume(self) -> None:
        """Continue after a failpoint that stopped it."""
        self.popen.send_signal(signal.SIGCONT)

    def assert_killed(self, *, within_s: float = 60) -> None:
        """It reached the failpoint that kills it."""
        assert self.popen.wait(within_s) == KILLED, f"not killed, but:\n{self.log.read_text()}"


@dataclass(frozen=True)
class Service:
    """A service by `name`, deployed; processes start on demand and end with the test."""

    stack: Stack
    name: str
    group: str
    consumes: tuple[str, ...]
    logs: Path
    database_url: str
    running: ExitStack
    module: str = ""
    """
    The module to run if it is none of our services; `name` is then the name of its settings
    section.
    """

    @cached_property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)

    @cached_property
    def environment(self) -> dict[str, str]:
        section = f"ORDERFLOW_{self.name.upper()}__"
        own = {DEFAULT_PAYMENT_METHOD: "pm_ok"} if self.name == "order" else {}
        return {**self.stack.service_environment, **self._state(section), **own}

    def _state(self, section: str) -> dict[str, str]:
        if self.database_url:
            return {f"{section}DATABASE__DSN": self.database_url}
        if row(self.name).writes_files:
            return {f"{section}STORE__URL": self.state_dir.as_uri()}
        has_stores = row(self.name).has_stores
        return {f"{section}STATE_DIR": str(self.state_dir)} if has_stores else {}

    @property
    def state_dir(self) -> Path:
        """
        Where a service without a database keeps its state, each slot in a directory of its own; or
        its files.
        """
        return self.logs / "state"

    def migrate(self) -> None:
        if self.module:
            subprocess.run(
                self._command("migrate", 0),
                env=self.environment,
                check=True,
                timeout=60,
                capture_output=True,
            )
        else:
            migrate_service(self.name, self.database_url)
        if self.name == "order":
            add_demo_products(self.database_url)
        if self.name == "inventory":
            add_demo_stock(self.database_url)

    def start(self, roles: str, *, slot: int = 0, wait: bool = True, **environment: str) -> Process:
        """Start a process with `roles`, and unless `wait` is false wait until it is ready."""
        [port] = free_ports(1, start=os.getpid() * 7 + 5_000 + next(_STARTED) * 20)
        return self.start_at(port, roles, slot=slot, wait=wait, **environment)

    def start_at(
        self, port: int, roles: str, *, slot: int = 0, wait: bool = True, **environment: str
    ) -> Process:
        """As `start`, on this port."""
        names = roles.split(",")
        face = "api" if "api" in names else names[0]
        # A listener and a sender add their slots to their ports; so does an API with state.
        setting = f"ORDERFLOW_{self.name.upper()}__{face.upper()}__PORT"
        adds_slot = face in ("listener", "sender") or not self.database_url
        ports = {setting: str(port - slot * adds_slot)}

        log = self.logs / f"{self.name}-{roles.replace(',', '-')}-{slot}-{uuid4().hex[:6]}.log"
        with log.open("wb") as sink:
            popen = subprocess.Popen(
                self._command(roles, slot),
                env={**self.environment, **ports, **environment},
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
    def documented_api(self, **environment: str) -> Iterator[httpx2.Client]:
        """Its API. Every answer must be as its own document says; the process must end with 0."""
        process = self.start("api", slot=0, wait=True, **environment)
        document = process.client.get("/openapi.json").json()
        process.client.event_hooks["response"].append(holding_to(document))
        yield process.client
        assert process.terminate() == 0, process.log.read_text()

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
            return Encoder.load(registry, CATALOGUE)
        finally:
            registry.close()

    @cached_property
    def producer(self) -> clients.Producer:
        return clients.producer(self.kafka, **{"linger.ms": 5})

    def send(
        self,
        topic: str,
        event: Envelope,
        *,
        event_id: UUID | None = None,
        key: str | None = None,
        partition: int = -1,
        to: str | None = None,
    ) -> None:
        """
        Produce `event` with the schema that it has on `topic`; `flush` waits for the broker.

        The same `event_id` again is a repeat. `to`: the topic to produce to, if it is another, as
        a replay topic.
        """
        headers = records.headers(event, event_id, source=SOURCES.get(topic))
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

    def published(self, topic: str) -> list[Published]:
        """Its committed records, by their keys and headers."""
        return [Published.of(record) for record in self.records(topic)]

    def lag(self) -> int:
        """How many records its group has not finished; 0 once it has consumed all."""
        return sum(self.lags().values())

    def lags(self) -> dict[Place, int]:
        """
        How far its group's committed offsets are behind the ends of its topics' partitions; only
        those where they are.
        """
        consumer = clients.consumer(self.kafka, self.group)
        try:
            ends = {
                (topic, partition): end
                for topic in self.consumes
                for partition, end in end_offsets(self.kafka, topic).items()
            }
            places = [clients.TopicPartition(topic, partition) for topic, partition in ends]
            committed = {
                (tp.topic, tp.partition): max(tp.offset, 0)
                for tp in consumer.committed(places, timeout=10)
            }
        finally:
            consumer.close()

        return {
            place: end - committed[place] for place, end in ends.items() if end > committed[place]
        }

    def eventually_caught_up(self, *, within_s: float = 90) -> None:
        def caught_up() -> bool:
            assert not (lags := self.lags()), f"unfinished: {lags}"
            return True

        eventually(
            caught_up,
            within_s=within_s,
            every_s=0.5,
            why=f"{self.group} has consumed everything",
        )

    def _command(self, roles: str, slot: int) -> list[str]:
        module = self.module or f"orderflow.services.{self.name}"
        return [sys.executable, "-m", module, "--roles", roles, "--slot", str(slot)]


@dataclass(frozen=True)
class Published:
    """A record by its key and headers."""

    id: str
    type: str
    key: str
    cause: str

    @classmethod
    def of(cls, record: ConsumerRecord) -> Published:
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
    stack: Stack,
    logs: Path,
    name: str,
    *,
    group: str = "",
    consumes: Sequence[str] = (),
    module: str = "",
) -> Iterator[Service]:
    """
    Create and migrate the service's database; no process runs yet.

    Topics and schemas must exist, and no slot or position of its relay. `group` and `consumes` are
    those of its row in the roster, unless it is none of our services.
    """
    if not module:
        member = row(name)
        group, consumes = member.group, [topic.name for topic in member.listens_to]

    has_database = bool(module) or row(name).has_database
    database = empty_database(stack, name) if has_database else nullcontext("")
    with database as url, ExitStack() as running:
        service = Service(
            stack=stack,
            name=name,
            group=group,
            consumes=tuple(consumes),
            logs=logs,
            database_url=url,
            running=running,
            module=module,
        )
        if has_database:
            service.migrate()
        yield service


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has reached the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.send_signal(signal.SIGCONT)
        popen.kill()
    popen.wait(10)
