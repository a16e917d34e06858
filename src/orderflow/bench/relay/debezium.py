"""
Debezium as the relay's neighbour in `bench relay`: on the same outbox, in turns with our relay.

The worker runs throughout, so that its JVM is warm; between turns the connector is stopped, and has
let go of the slot. What it costs is the worker's process, as our relay's cost is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from orderflow.connect import deploy
from orderflow.connect.outbox_source import ORDER_HEARTBEATS, ORDER_OUTBOX, order_outbox
from orderflow.connect.rest import ConnectClient
from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.stack.addresses import database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts import connect, jars, services
from orderflow.stack.parts.fetch import fetch_uses
from orderflow.stack.settings import PUBLISHER
from orderflow.stack.supervise.component import Component
from orderflow.trials.harness import pid_of

RELAY = "order-relay"
WORKER = "connect"


class DebeziumTurns:
    """The worker, started; then turns in which the connector publishes."""

    def __init__(self, stack: LocalStack, kafka: KafkaSettings) -> None:
        settings = stack.settings
        fetch_uses(settings.cache_dir, (*jars.NEEDED_BY["connect"], *jars.NEEDED_BY["debezium"]))
        self._stack = stack
        self._ours = stack.find(RELAY).component
        self._caretaker = _named(
            RELAY,
            services.components(
                settings.model_copy(
                    update={"environment": {**settings.environment, PUBLISHER: "debezium"}}
                )
            ),
        )

        stack.add(_named(WORKER, connect.components(settings)))
        stack.start_process(WORKER)
        admin = Admin(kafka)
        apply(plan([ORDER_HEARTBEATS], admin, TopicSettings()), admin)
        self._is_new = True

    @contextmanager
    def turn(self) -> Iterator[int]:
        """The connector publishes; yields the worker's process id."""
        relay = self._stack.find(RELAY)
        relay.component = self._caretaker
        self._stack.start_process(RELAY)
        with ConnectClient(connect.url(self._stack.settings)) as client:
            self._start(client)
            try:
                yield pid_of(self._stack, WORKER)
            finally:
                client.stop(ORDER_OUTBOX)
                self._stack.stop_process(RELAY)
                relay.component = self._ours

    def _start(self, client: ConnectClient) -> None:
        if self._is_new:
            dsn = SecretStr(database_url(self._stack.settings, "order"))
            client.put(ORDER_OUTBOX, order_outbox(DatabaseSettings(dsn=dsn)))
            self._is_new = False
        else:
            client.resume(ORDER_OUTBOX)
        deploy.wait_until_running(client, ORDER_OUTBOX)


def _named(name: str, components: list[Component]) -> Component:
    return next(component for component in components if component.name == name)
