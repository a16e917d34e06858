"""
The order service as processes, against a test's stack.

A broker holds one relay position for the name `order`, a server one slot. A deployment deletes
those of the deployment before it, so that each test module may have a database of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from uuid import uuid4

import httpx2
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tests.support.databases import database_settings, migrate_service
from tests.support.kafka_tools import orderflow
from tests.support.products import add_demo_products
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.errors import OrderflowError, Transient
from orderflow.messaging.kafka.groups import begin_at
from orderflow.messaging.kafka.reader import end_offsets, read
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.addresses import DEFAULT_PAYMENT_METHOD
from orderflow.stack.ports import HOST, free_ports

TOPICS = ("orders", "order-events")
CONSUMES = (
    "payments",
    "inventory",
    *(f"{topic}.order-service.replay" for topic in ("payments", "inventory")),
)
TABLES = ("orders", "order_history", "outbox", "idempotency_key")

Offsets = dict[str, dict[int, int]]


@dataclass(frozen=True, slots=True)
class OrderProcess:
    """
    A running process of the service. `url`: its API, or the health routes of a process without
    one.
    """

    popen: subprocess.Popen[bytes]
    url: str
    client: httpx2.Client
    log: Path

    def terminate(self, *, within_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        self.popen.terminate()
        return self.popen.wait(within_s)

    def ready(self) -> bool:
        assert self.popen.poll() is None, f"ended by itself:\n{self.log.read_text()}"
        answer = self.client.get("/readyz")
        return answer.status_code == 200 and not answer.json()["degraded"]


@dataclass(frozen=True)
class OrderService:
    """Topics, schemas and a database, deployed; processes start on demand and end with the test."""

    stack: Stack
    logs: Path
    database_url: str
    running: ExitStack

    @cached_property
    def environment(self) -> dict[str, str]:
        return {
            **self.stack.service_environment,
            "ORDERFLOW_ORDER__DATABASE__DSN": self.database_url,
            DEFAULT_PAYMENT_METHOD: "pm_ok",
        }

    @cached_property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)

    def migrate(self) -> None:
        """Migrate the database, and put the demo products into its catalogue."""
        migrate_service("order", self.database_url)
        add_demo_products(self.database_url)

    def start(self, roles: str, *, wait: bool = True, **environment: str) -> OrderProcess:
        """Start a process with `roles`, and unless told otherwise wait until it is ready."""
        free = dict(
            zip(
                ("api", "relay", "listener", "sweeper"),
                free_ports(4, start=os.getpid() * 7 + 3_000),
                strict=True,
            )
        )
        ports = {f"ORDERFLOW_ORDER__{role.upper()}__PORT": str(port) for role, port in free.items()}
        names = roles.split(",")
        url = f"http://{HOST}:{free['api' if 'api' in names else names[0]]}"

        log = self.logs / f"order-{roles.replace(',', '-')}-{uuid4().hex[:6]}.log"
        with log.open("wb") as sink:
            popen = subprocess.Popen(
                command(roles), env={**self.environment, **ports, **environment}, stderr=sink
            )
        self.running.callback(_end, popen)

        client = self.running.enter_context(
            httpx2.Client(base_url=url, timeout=20, trust_env=False)
        )
        process = OrderProcess(popen=popen, url=url, client=client, log=log)

        if wait:
            eventually(process.ready, within_s=60, why=f"{roles} is ready")
        return process

    @contextmanager
    def connection(self) -> Iterator[postgres.Connection]:
        with postgres.connect(
            database_settings(self.database_url), application_name="test"
        ) as connection:
            yield connection

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        with self.connection() as connection:
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES
            ]
        return {table: count[0] for table, count in zip(TABLES, counts, strict=True) if count}

    def ends(self) -> Offsets:
        """Where each topic ends now: give it to `keys`."""
        return {topic: end_offsets(self.kafka, topic) for topic in TOPICS}

    def keys(self, topic: str, since: Offsets | None = None) -> Counter[str]:
        """How often each order is on a topic, among its committed records."""
        start = since[topic] if since else None
        records = read(self.kafka, topic, start=start, follow=False)
        return Counter(record.key.decode() for record in records if record and record.key)


@contextmanager
def order_deployed(stack: Stack, logs: Path, *, migrated: bool = True) -> Iterator[OrderService]:
    """Deploy the service with a database of its own; no process runs yet."""
    deploy_contracts(stack)
    forget_relay(stack)

    name = f"order_{uuid4().hex[:8]}"
    url = stack.create_database(name)
    try:
        with ExitStack() as running:
            service = OrderService(stack=stack, logs=logs, database_url=url, running=running)
            if migrated:
                service.migrate()
            yield service
    finally:
        with suppress(OrderflowError):
            _forget_position(stack)
            _execute(stack, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def order_service(stack: Stack, logs: Path) -> Iterator[httpx2.Client]:
    """
    Deploy the service, run API and relay, yield a client of the API. Both must end with 0 on
    SIGTERM.
    """
    with order_deployed(stack, logs) as service:
        relay, api = service.start("relay"), service.start("api")
        yield api.client
        for process in (relay, api):
            assert process.popen.poll() is None, f"ended by itself:\n{process.log.read_text()}"
            assert process.terminate() == 0, process.log.read_text()


@cache
def deploy_contracts(stack: Stack) -> None:
    """Apply topics and schemas, once for each stack."""
    for step in ("topics", "schemas"):
        applied = orderflow(stack, step, "apply")
        assert applied.returncode == 0, applied.stderr


def command(roles: str) -> list[str]:
    return [sys.executable, "-m", "orderflow.services.order", "--roles", roles]


def forget_relay(stack: Stack) -> None:
    """
    Drop the slot and the relay position of `order`; move its listener's group to the ends of its
    topics.
    """
    _forget_position(stack)
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)

    def begin() -> bool:
        for topic in CONSUMES:
            begin_at(kafka, "order-service", topic, end_offsets(kafka, topic))
        return True

    try:
        begin()
    except Transient:  # Former members count as members until their session times out.
        eventually(begin, within_s=60, every_s=1, why="order-service is empty")


def _forget_position(stack: Stack) -> None:
    # The server needs a moment to notice that a killed relay is gone.
    eventually(lambda: _drop_slot(stack), within_s=30, why="nobody reads the relay's slot")
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    forgetting = admin.delete_consumer_groups(["relay.order"], request_timeout=20)["relay.order"]
    with suppress(KafkaException):  # There is none yet.
        forgetting.result(30)


def _drop_slot(stack: Stack) -> bool:
    ours = "FROM pg_replication_slots WHERE slot_name = 'relay_order'"
    _execute(stack, f"SELECT pg_drop_replication_slot(slot_name) {ours} AND NOT active")
    return not _execute(stack, f"SELECT slot_name {ours}")


def _execute(stack: Stack, statement: str) -> list[tuple[object, ...]]:
    settings = database_settings(stack.postgres_url("postgres"))
    with postgres.connect(settings, application_name="test", autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.kill()
    popen.wait(10)
