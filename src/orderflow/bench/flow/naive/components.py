"""The naive flow's processes, databases and topics, beside a stack that runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from orderflow.bench.flow.load import Flow
from orderflow.bench.flow.naive import api, inventory, notification, parts
from orderflow.bench.flow.naive.parts import Task
from orderflow.bench.flow.workers import start, stop
from orderflow.bench.service_data import open_connection
from orderflow.messaging.kafka.admin import Admin
from orderflow.messaging.kafka.topics import Creation
from orderflow.messaging.postgres import array
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.ports import HOST, free_ports
from orderflow.stack.supervise.component import (
    Command,
    Component,
    Probe,
    http_probe,
    make_directory,
    port_probe,
)
from orderflow.trials.harness import access, new_database
from orderflow.trials.processes import python_module, with_task

FLOW = Flow(
    orders=parts.ORDERS,
    payments=parts.PAYMENTS,
    inventory=parts.INVENTORY,
    notifications=parts.NOTIFICATIONS,
)
PARTITIONS = 3
SKUS = list(api.PRICES)
DATABASES = {
    "order": f"{api.TABLE}{parts.BOXES}",
    "inventory": inventory.TABLES,
    "notification": notification.TABLES,
}
LISTENERS = ("payment", "inventory", "notification")


class NaiveFlow:
    """
    Made once on a stack: it makes databases and topics, and adds its processes to the stack's.

    `start` and `stop` the processes together.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._access = access(stack)
        self._make_topics()
        self._databases = {name: self._database(name, ddl) for name, ddl in DATABASES.items()}

        ports = free_ports(4, start=os.getpid() * 13 + 5_000)
        self._api_port, self._psp_port, self._mail_port, self._smtp_port = ports
        self.names = [component.name for component in self._components()]
        for component in self._components():
            stack.add(component)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._api_port}"

    def start(self) -> None:
        start(self._stack, self.names)

    def stop(self) -> None:
        stop(self._stack, self.names)

    def _make_topics(self) -> None:
        creations = [
            Creation(topic=name, partitions=PARTITIONS, replicas=1, config={})
            for name in FLOW.topics
        ]
        Admin(self._access.kafka).create(creations)

    def _database(self, name: str, ddl: str) -> str:
        dsn = new_database(self._stack, f"naive_flow_{name}")
        with open_connection(dsn) as connection:
            connection.execute(ddl.encode())
            if name == "inventory":
                connection.execute(inventory.STOCK_UP, (array(SKUS),))
        return dsn

    def _components(self) -> Iterator[Component]:
        yield self._neighbour("psp", self._psp_port, {"PORT": self._psp_port})
        smtp = {"PORT": self._mail_port, "SMTP_PORT": self._smtp_port}
        yield self._neighbour("mail", self._mail_port, smtp)

        for listener in LISTENERS:
            for worker in range(PARTITIONS):
                command = with_task(f"{parts.__package__}.{listener}", self._task(listener, worker))
                yield _component(f"{listener}-{worker}", command)
        for name, dsn in self._databases.items():
            poller = python_module(
                "orderflow.bench.relay.naive", dsn, self._access.kafka.bootstrap_servers
            )
            yield _component(f"{name}-poller", poller)
        command = python_module(api.__name__, str(self._api_port), self._databases["order"])
        yield _component("api", command, probe=port_probe(self._api_port))

    def _task(self, listener: str, worker: int) -> Task:
        return Task(
            bootstrap_servers=self._access.kafka.bootstrap_servers,
            dsn=self._databases.get(listener, ""),
            provider_url=f"http://{HOST}:{self._psp_port}",
            smtp_port=self._smtp_port,
            worker=worker,
        )

    def _neighbour(self, name: str, port: int, settings: dict[str, int]) -> Component:
        """Of its own: what is charged and mailed here is none of our books' business."""
        directory = self._stack.settings.data / f"naive-{name}"
        environment = {
            f"ORDERFLOW_{name.upper()}__{key}": str(value) for key, value in settings.items()
        }
        environment[f"ORDERFLOW_{name.upper()}__DIRECTORY"] = str(directory)
        environment["ORDERFLOW_TELEMETRY__LOG_LEVEL"] = "warning"

        return _component(
            name,
            python_module(f"orderflow.neighbours.{name}"),
            environment=environment,
            probe=http_probe(port, "/readyz"),
            prepare=lambda: _make(directory),
        )


def _component(
    name: str,
    command: tuple[str, ...],
    *,
    environment: dict[str, str] | None = None,
    probe: Probe = lambda: "",
    prepare: Callable[[], None] = lambda: None,
) -> Component:
    return Component(
        name=f"naive-{name}",
        service="naive",
        role=name,
        command=lambda: Command(argv=command, env={**os.environ, **(environment or {})}),
        probe=probe,
        prepare=prepare,
    )


def _make(directory: Path) -> None:
    make_directory(directory)
