"""What an incident acts on: a stack under load, and the hands that break and mend it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import msgspec

from orderflow.contracts.roster import GROUPS, ROSTER
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.drills.figures import ClusterFigures, Figures, Gauge, TableFigures
from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.failpoints import VARIABLE
from orderflow.messaging.kafka import clients
from orderflow.messaging.postgres import connect
from orderflow.messaging.settings import DatabaseSettings
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts.services import worker
from orderflow.stack.ports import free_ports
from orderflow.stack.supervise.component import Command
from orderflow.stack.supervise.managed import State
from orderflow.trials.harness import Access, access, database
from orderflow.trials.steady_load import SteadyLoad

TURN_S = 0.1
ANSWER_WITHIN_S = 10.0
START_WITHIN_S = 120.0
SEND_WITHIN_S = 30.0

_NO_HEADERS: Mapping[str, str] = {}


class Scene:
    """
    One drill's view of its stack. For one thread: the one that made the stack.

    Whatever waits here lets the stack go on meanwhile: what died is restarted, what is wanted
    starts. `watcher`, if there is one, is called several times a second while anything waits.
    """

    def __init__(
        self,
        stack: LocalStack,
        load: SteadyLoad,
        *,
        cluster: Gauge[ClusterFigures],
        tables: Gauge[TableFigures],
    ) -> None:
        self.stack = stack
        self.load = load
        self.access: Access = access(stack)
        self.databases: dict[str, DatabaseSettings] = {
            member.name: database(database_url(stack.settings, member.name))
            for member in ROSTER
            if member.has_database
        }
        self.cluster, self.tables = cluster, tables
        self.watcher: Callable[[], None] = lambda: None

    def turn(self) -> None:
        """Let the stack take a step. Raises OrderflowError when a component failed for good."""
        self.stack.turn()
        self.stack.wait(TURN_S)
        for gauge in (self.cluster, self.tables):
            if gauge.crashed is not None:
                raise gauge.crashed
        for managed in self.stack.managed.values():
            if managed.state is State.FAILED and managed.wanted:
                raise OrderflowError(f"{managed.name} ended: {managed.reason}")
        self.watcher()

    def wait_for(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Raises OrderflowError, naming `what`, when the condition is not met in time."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise OrderflowError(f"{what}: not within {within_s:.0f} s")
            self.turn()

    @property
    def figures(self) -> Figures:
        """What is known now."""
        cluster, tables = self.cluster.newest, self.tables.newest
        return Figures(
            placed=len(self.load.placed),
            answers=dict(self.load.answers),
            cluster=None if cluster is None else cluster.value,
            tables=None if tables is None else tables.value,
        )

    # Processes.

    def pid(self, name: str) -> int | None:
        """None while it does not run."""
        child = self.stack.find(name).child
        return None if child is None else child.pid

    def is_up(self, name: str) -> bool:
        return self.stack.find(name).is_up

    def restarts(self, name: str) -> int:
        """How often the stack has started it again after it ended by itself."""
        return self.stack.find(name).restarts

    def kill(self, name: str) -> None:
        """SIGKILL to a process that runs; the stack starts it again."""
        self.send_signal(name, signal.SIGKILL)

    def send_signal(self, name: str, number: int) -> None:
        """Raises OrderflowError if the process does not run."""
        pid = self.pid(name)
        if pid is None:
            raise OrderflowError(f"{name} does not run")
        os.kill(pid, number)

    def stop(self, *names: str) -> None:
        """Stop these in good order, whatever depends on them, and wait until they are gone."""
        for name in names:
            self.stack.want(name, up=False)
        self.wait_for(
            lambda: all(self.stack.find(name).state is State.STOPPED for name in names),
            within_s=START_WITHIN_S,
            what=f"stopping {', '.join(names)}",
        )

    def start(self, *names: str) -> None:
        """Start these, if they do not run, and wait until they are ready."""
        for name in names:
            if not self.is_up(name):
                self.stack.want(name, up=True)
        self.wait_for(
            lambda: all(self.is_up(name) for name in names),
            within_s=START_WITHIN_S,
            what=f"starting {', '.join(names)}",
        )

    def take_down(self, name: str) -> None:
        """End a process as a power cut would, and do not start it again."""
        self.stack.want(name, up=False)
        self.kill(name)
        self.stop(name)

    def restart(self, name: str, environment: Mapping[str, str] = _NO_HEADERS) -> None:
        """Stop and start a process; `environment` is for this start alone."""
        self.stop(name)
        self._next_start_with(name, environment)
        self.start(name)

    def arm(self, name: str, failpoints: str) -> None:
        """
        Stop a process and begin to start it with these failpoints, `line=kill@3`; those of this
        start alone: after it died it comes back without them. Returns before it is ready.
        """
        self.stop(name)
        self._next_start_with(name, {VARIABLE: failpoints})
        self.stack.want(name, up=True)

    def add_worker(self, service: str, roles: str, *, slot: int) -> str:
        """Add one more worker of a service and wait until it is ready; its name."""
        port = free_ports(1, start=self.stack.settings.ports.postgres)[0]
        component = worker(self.stack.settings, service, roles, slot=slot, port=port)
        self.stack.add(component)
        self.start(component.name)
        return component.name

    def remove_worker(self, name: str) -> None:
        """Stop a worker that was added, if it is there, and forget it."""
        if name in self.stack.managed:
            self.stop(name)
            del self.stack.managed[name]

    def log_of(self, name: str) -> str:
        """What the process has logged, from the first start on."""
        return self.stack.find(name).log.read_text(errors="replace")

    def _next_start_with(self, name: str, environment: Mapping[str, str]) -> None:
        managed = self.stack.find(name)
        component = managed.component

        def command() -> Command:
            managed.component = component
            plain = component.command()
            return replace(plain, env={**plain.env, **environment})

        managed.component = replace(component, command=command)

    # Services.

    def ask(
        self,
        method: str,
        url: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Any:
        """The answer of any HTTP server, decoded. Raises OrderflowError on another than 2xx."""
        try:
            answer = httpx2.request(
                method,
                url,
                json=body,
                headers={"Orderflow-Actor": "drill", **headers},
                timeout=ANSWER_WITHIN_S,
                trust_env=False,
            )
        except httpx2.HTTPError as error:
            raise OrderflowError(f"{method} {url}: {error}") from error

        if not answer.is_success:
            raise OrderflowError(f"{method} {url} answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    def api(self, service: str, path: str) -> str:
        """The URL of a path of a service's API."""
        return f"{api_url(self.stack.settings, service)}{path}"

    def place(self, **fields: Any) -> str:
        """Place one order beside the load; its id. It is among those that must not be lost."""
        lines = [{"sku": "MOUSE-01", "quantity": 1}]
        order = self.ask(
            "POST",
            self.api("order", "/orders"),
            body={"customerId": "customer-drill", "lines": lines, **fields},
            headers={"Prefer": "wait=0"},
        )

        order_id = str(order["orderId"])
        self.load.placed.append(order_id)
        return order_id

    def order(self, order_id: str) -> dict[str, Any]:
        """An order as its API shows it."""
        shown: dict[str, Any] = self.ask("GET", self.api("order", f"/orders/{order_id}"))
        return shown

    def sql(self, service: str, *statements: str) -> list[tuple[Any, ...]]:
        """
        Run statements in a service's database, each in a transaction of its own; the last one's
        rows. To break and to mend, never to look where an API shows it.
        """
        rows: list[tuple[Any, ...]] = []
        with connect(
            self.databases[service],
            application_name="drill",
            autocommit=True,
            session={"lock_timeout": "20s", "statement_timeout": "25s"},
        ) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def produce(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """One record beside all rules, acknowledged. Raises OrderflowError if it is not."""
        refused: list[str] = []
        client = clients.producer(self.access.kafka)
        client.produce(
            topic,
            value,
            key,
            headers=list(headers),
            on_delivery=lambda error, _message: refused.append(str(error)) if error else None,
        )
        if client.flush(SEND_WITHIN_S) or refused:
            raise OrderflowError(f"the record was not written: {refused or 'no answer'}")

    def leaders_of(self, topic: str) -> dict[int, int]:
        """The node id of the broker that serves each partition; -1 where nobody does."""
        client = clients.consumer(self.access.kafka, "orderflow.drill")
        try:
            partitions = client.list_topics(topic, timeout=ANSWER_WITHIN_S).topics[topic].partitions
        except clients.KafkaException as error:
            raise OrderflowError(f"who leads {topic}: {error.args[0].str()}") from error
        finally:
            client.close()
        return {number: partition.leader for number, partition in partitions.items()}

    @property
    def desk(self) -> Desk:
        """For dead letters: to look, to send them again, to lay them aside."""
        groups = {group: [topic.name for topic in topics] for group, topics in GROUPS.items()}
        return Desk(self.access.kafka, groups, DEAD_LETTER_DISPOSITIONS.name)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders and letters there were at some moment, to compare with later ones."""

    placed: int
    refused: int
    unanswered: int
    finished: int
    letters: int

    @classmethod
    def of(cls, scene: Scene) -> Snapshot:
        """Now; 0 where nothing is known."""
        figures = scene.figures
        return cls(
            placed=figures.placed,
            refused=scene.load.refused,
            unanswered=scene.load.unanswered,
            finished=0 if figures.tables is None else figures.tables.orders.finished,
            letters=0 if figures.cluster is None else figures.cluster.letters,
        )
