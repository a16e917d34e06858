"""
The real stack for tests: Kafka, PostgreSQL, registry.

`stack` is one for the whole session. `own_stack` is one for a module that stops and starts
components by name; anything else (three brokers, Kafka alone) comes from `private_stack`. All use
free ports and temporary directories, as root and as a plain user, and leave nothing behind.
`ORDERFLOW_TEST_STACK` names a running stack for the session instead.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.blueprint import infrastructure
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts import connect, jars, kafka, postgres, registry, zipkin
from orderflow.stack.parts.java import java_home
from orderflow.stack.ports import HOST
from orderflow.stack.settings import Ports, StackSettings

RUNNING_STACK = "ORDERFLOW_TEST_STACK"
SERVERS = ("kafka", "postgres", "registry")


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of a running stack."""

    bootstrap_servers: str
    registry_url: str
    postgres_port: int
    kafka_classpath: str
    java_home: Path
    more_environment: Mapping[str, str] = field(default_factory=dict, kw_only=True, hash=False)

    @property
    def java(self) -> str:
        return str(self.java_home / "bin" / "java")

    def postgres_url(self, database: str) -> str:
        return f"postgresql://postgres@{HOST}:{self.postgres_port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        postgres.create_database(self.postgres_port, name)
        return self.postgres_url(name)

    @property
    def service_environment(self) -> dict[str, str]:
        """Where a service process finds Kafka and the registry, on top of our own environment."""
        return {
            **{name: value for name, value in os.environ.items() if name != RUNNING_STACK},
            "ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "ORDERFLOW_REGISTRY__URL": self.registry_url,
            **self.more_environment,
        }


@dataclass(frozen=True, slots=True)
class OwnStack(Stack):
    """
    A private stack: `postgres`, `kafka` (or `kafka-1` to `kafka-3`), `registry` and, if they run,
    `connect` and `zipkin` can be stopped and started.
    """

    local: LocalStack

    def stop(self, name: str) -> None:
        self.local.stop_process(name)

    def start(self, name: str) -> None:
        """Start it on its old data and port, and wait until it is ready."""
        self.local.start_process(name)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is dead; it stays so until `start`."""
        managed = self.local.find(name)
        os.kill(self.pid(name), signal.SIGKILL)
        eventually(lambda: not managed.is_alive, within_s=10, why=f"{name} is dead")
        self.stop(name)

    def pid(self, name: str) -> int:
        child = self.local.find(name).child
        assert child is not None, f"{name} does not run"
        return child.pid


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The session's stack."""
    running = os.environ.get(RUNNING_STACK)
    if running:
        yield _running(json.loads(running))
        return
    with private_stack() as own:
        yield own


@pytest.fixture(scope="module")
def own_stack() -> Iterator[OwnStack]:
    """A stack whose components this module may stop and start."""
    with private_stack() as own:
        yield own


@pytest.fixture(scope="module")
def traced_stack() -> Iterator[OwnStack]:
    """Such a stack with Zipkin: services that are started on it trace everything."""
    with private_stack(only=(*SERVERS, "zipkin")) as own:
        yield own


@pytest.fixture(scope="module")
def connect_stack() -> Iterator[OwnStack]:
    """Such a stack with a Connect worker and an empty warehouse; nothing is deployed on it."""
    with private_stack(only=(*SERVERS, "connect")) as own:
        yield own


@contextmanager
def private_stack(
    *, brokers: Literal[1, 3] = 1, only: tuple[str, ...] = SERVERS
) -> Iterator[OwnStack]:
    """
    A stack of its own, gone at the end. `only` names the services to run; the registry needs
    postgres. Zipkin is not waited for: `tests.support.zipkin` does that.
    """
    with temporary_home() as home:
        settings = settings_for_tests(home, brokers=brokers).model_copy(update={"services": only})
        components = [
            *infrastructure(settings),
            *connect.components(settings),
            *zipkin.components(settings),
        ]
        local = LocalStack(settings, [part for part in components if part.service in only])
        local.start()
        try:
            yield OwnStack(
                bootstrap_servers=kafka.bootstrap_servers(settings),
                registry_url=registry.url(settings),
                postgres_port=settings.ports.postgres,
                kafka_classpath=jars.locate(settings.cache_dir).kafka_classpath,
                java_home=java_home(),
                more_environment={
                    **zipkin.process_environment(settings),
                    **connect.process_environment(settings),
                },
                local=local,
            )
        finally:
            local.stop()


def settings_for_tests(home: Path, *, brokers: Literal[1, 3] = 1) -> StackSettings:
    """An instance on free ports, with its data in `home`."""
    return StackSettings(
        home=home,
        cache_dir=jars.default_cache_dir(),
        brokers=brokers,
        ports=Ports.free(start=os.getpid() * 11),
    )


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A directory that PostgreSQL's user can reach too, removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="orderflow-test-"))
    home.chmod(0o755)
    try:
        yield home / "stack"
    finally:
        shutil.rmtree(home)


def _running(addresses: Mapping[str, str]) -> Stack:
    port = urlsplit(addresses["postgres"]).port
    assert port is not None, f"{RUNNING_STACK}: the PostgreSQL address names no port"
    return Stack(
        bootstrap_servers=addresses["kafka"],
        registry_url=addresses["registry"],
        postgres_port=port,
        kafka_classpath=addresses["kafka_classpath"],
        java_home=Path(addresses["java_home"]) if "java_home" in addresses else java_home(),
    )
