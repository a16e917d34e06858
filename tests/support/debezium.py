"""Debezium as the other relay: a stack with a Connect worker, and a connector for an outbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.support.stack import SERVERS, OwnStack, private_stack

from orderflow.connect.deploy import wait_until_running
from orderflow.connect.outbox_source import ORDER_HEARTBEATS, outbox_source
from orderflow.connect.rest import ConnectClient, ConnectorState
from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.stack.parts import connect

WITHIN_S = 90.0


@contextmanager
def debezium_stack() -> Iterator[OwnStack]:
    """Kafka, PostgreSQL, the registry, and a worker that has Debezium's plugin."""
    with private_stack(only=(*SERVERS, "connect", "debezium")) as stack:
        # Services are told by the tests who publishes; the probe service knows no Connect.
        yield replace(stack, more_environment={})


@dataclass(frozen=True)
class Debezium:
    """One connector, for the outbox of one service; the worker is the stack's."""

    stack: OwnStack
    service: str
    database: DatabaseSettings

    @property
    def name(self) -> str:
        return f"{self.service}-outbox"

    def start(self) -> None:
        """Make the connector, and wait until it runs."""
        with self.client() as client:
            make_heartbeats(self.stack, self.name)
            config = outbox_source(self.database, service=self.service, name=self.name)
            client.put(self.name, config)
            wait_until_running(client, self.name, within_s=WITHIN_S)

    def restart(self) -> None:
        with self.client() as client:
            client.restart(self.name, only_failed=True)
            wait_until_running(client, self.name, within_s=WITHIN_S)

    def stop(self) -> None:
        """Let it go of the slot; the connector stays, with its offsets."""
        with self.client() as client:
            client.stop(self.name)

    def resume(self) -> None:
        with self.client() as client:
            client.resume(self.name)
            wait_until_running(client, self.name, within_s=WITHIN_S)

    def state(self) -> ConnectorState:
        with self.client() as client:
            return client.state(self.name)

    def delete(self) -> None:
        with self.client() as client:
            client.delete(self.name)

    def kill_worker(self) -> None:
        """SIGKILL; then a new one, and wait until the connector runs in it."""
        self.stack.kill("connect")
        self.stack.start("connect")
        with self.client() as client:
            wait_until_running(client, self.name, within_s=WITHIN_S)

    def client(self) -> ConnectClient:
        return ConnectClient(connect.url(self.stack.local.settings))


def make_heartbeats(stack: OwnStack, connector: str) -> None:
    """The topic that the connector's deployment makes."""
    prefix, _, _ = ORDER_HEARTBEATS.name.partition(".")
    topic = type(ORDER_HEARTBEATS)(
        name=f"{prefix}.{connector}",
        key=ORDER_HEARTBEATS.key,
        retention=ORDER_HEARTBEATS.retention,
        partitions=1,
    )
    admin = Admin(KafkaSettings(bootstrap_servers=stack.bootstrap_servers))
    apply(plan([topic], admin, TopicSettings()), admin)
