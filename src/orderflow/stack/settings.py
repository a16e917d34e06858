"""
The local stack's own settings, `ORDERFLOW_STACK__…`, and the directories that follow from them.

| setting | meaning |
|---|---|
| STATE_DIR | data and logs; default: in the XDG state directory, as root `/var/lib/orderflow` |
| CACHE_DIR | what checkouts share: jars, AOT caches |
| BROKERS | 1 or 3; each is an instance of its own, with its own data |
| PORT_OFFSET | added to every port, so that a second instance can run beside the first |
| SERVICES | what to run, as JSON; default: ALL. What is left out is reached by its own address |
| PORTS__… | single ports, by the names of `Ports` |
| MAVEN_URL | another Maven repository than the public one |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import platformdirs
from pydantic import AfterValidator, Field, ValidationError, create_model

import orderflow
from orderflow.contracts.known_names import there_are
from orderflow.contracts.roster import ROSTER, SECTIONS, Roster
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import Port, ProcessSettings, Section, load
from orderflow.stack.parts.jars import default_cache_dir
from orderflow.stack.ports import free_ports
from orderflow.stack.preflight import checkout_name

Service = str
"""What can be left out of a stack: servers, the deploy steps, our services, the neighbours."""


def services(roster: Roster = ROSTER) -> tuple[Service, ...]:
    """Everything that a stack can run, by the names that `ORDERFLOW_STACK__SERVICES` takes."""
    members = (member.name for member in roster if not member.on_demand)
    return ("kafka", "postgres", "registry", "deploy", *members, "psp", "mail")


def _known(name: Service) -> Service:
    on_demand = (*EXTRAS.values(), *RELAYS.values())
    known = tuple(dict.fromkeys((*ALL, *(name for members in on_demand for name in members))))
    if name not in known:
        raise ValueError(f"a stack runs no {name!r}; {there_are(name, known)}")
    return name


ALL = services()

EXTRAS: dict[str, tuple[Service, ...]] = {
    "zipkin": ("zipkin",),
    "connect": ("connect", *(member.name for member in ROSTER if member.on_demand)),
}
"""
What runs only where it is asked for, with `--with` or by its name in SERVICES: what each name adds.
"""

Publisher = Literal["relay", "debezium"]
RELAYS: dict[str, tuple[Service, ...]] = {"relay": (), "debezium": ("connect", "debezium")}
"""Who publishes the order service's outbox, and what each adds; chosen with `--relay`."""

PUBLISHER = "ORDERFLOW_ORDER__RELAY__PUBLISHER"

PROVIDER_URL = "ORDERFLOW_PAYMENT__PSP__URL"
"""Where the payment service finds its provider; set for `orderflow up`, none is started."""

SMTP_HOST = "ORDERFLOW_NOTIFICATION__SMTP__HOST"
SMTP_PORT = "ORDERFLOW_NOTIFICATION__SMTP__PORT"
"""Where the notification service finds its mail server. With the host set, `up` starts no sink."""


class FixedPorts(Section):
    """
    Where each process listens, on 127.0.0.1. A broker's controller listens one port above it.

    `Ports` adds one for each process of a service: `<service>_<first role>`.
    """

    kafka: tuple[Port, Port, Port] = (19092, 19094, 19096)
    postgres: Port = 15432
    registry: Port = 18081
    registry_health: Port = 18082
    psp: Port = 8089
    mail_api: Port = 8087
    mail_smtp: Port = 8025
    zipkin: Port = 9411
    connect: Port = 18083

    @classmethod
    def free(cls, *, start: int) -> Self:
        """Ports that nobody has now, looked for from `start` on: for an instance beside others."""
        neighbours = free_ports(100, start=start)
        # A broker's controller takes the port above the broker's own: pairs of neighbours.
        pairs = [port for port in neighbours if port % 2 == 0 and port + 1 in neighbours][:3]
        single = (port for port in neighbours if port & ~1 not in pairs)

        return cls.model_validate(
            {name: tuple(pairs) if name == "kafka" else next(single) for name in cls.model_fields}
        )

    def of(self, service: str, role: str) -> int:
        """The port of the service's process whose first role this is."""
        port: int = getattr(self, port_name(service, role))
        return port

    def moved_by(self, offset: int) -> Self:
        """
        The same ports, each raised by `offset`.

        Raises ConfigurationError when one leaves the range.
        """
        raised = {
            name: tuple(port + offset for port in value)
            if isinstance(value, tuple)
            else value + offset
            for name, value in self
        }

        try:
            return type(self).model_validate(raised)
        except ValidationError as error:
            name = error.errors()[0]["loc"][0]
            raise ConfigurationError(
                f"ORDERFLOW_STACK__PORT_OFFSET: {offset} moves the port {name} beyond 65535"
            ) from error


def port_name(service: str, role: str) -> str:
    return f"{service}_{role}"


def ports_model(roster: Roster) -> type[FixedPorts]:
    """The ports of a stack that runs the services of `roster`, with the rows' defaults."""
    fields: dict[str, Any] = {
        port_name(member.name, process.roles[0]): (Port, member.ports[process.roles[0]])
        for member in roster
        for process in member.runs
    }
    return create_model("Ports", __base__=FixedPorts, **fields)


if TYPE_CHECKING:
    Ports = FixedPorts
else:
    Ports = ports_model(ROSTER)


class StackSection(Section):
    """`ORDERFLOW_STACK__…`."""

    state_dir: Path | None = None
    cache_dir: Path = Field(default_factory=default_cache_dir)
    brokers: Literal[1, 3] = 1
    port_offset: Annotated[int, Field(ge=0, le=30000)] = 0
    services: tuple[Annotated[Service, AfterValidator(_known)], ...] = ALL
    ports: Ports = Ports()
    maven_url: str | None = None


class StackProcessSettings(ProcessSettings):
    """The environment of `orderflow up` and of the supervisor."""

    stack: StackSection = Field(default_factory=StackSection)


class StackSettings(Section):
    """One instance of the local stack: everything that decides where it and its data are."""

    home: Path
    cache_dir: Path
    brokers: Literal[1, 3] = 1
    services: tuple[Service, ...] = ALL
    ports: Ports = Ports()
    maven_url: str | None = None
    elsewhere: dict[str, str] = Field(default_factory=dict)
    """Environment of our processes for servers that are not run here: variable → address."""
    environment: dict[str, str] = Field(default_factory=dict)
    """More of our processes' environment, for an instance that is somebody's own."""

    def with_extras(self, extras: Iterable[Service]) -> Self:
        """The same instance, with what these names of EXTRAS and RELAYS add too."""
        added = (name for extra in extras for name in (EXTRAS | RELAYS)[extra])
        more = dict.fromkeys(name for name in added if name not in self.services)
        return self.model_copy(update={"services": (*self.services, *more)})

    @property
    def publisher(self) -> Publisher:
        """Who publishes the order service's outbox."""
        return "debezium" if "debezium" in self.services else "relay"

    @property
    def instance(self) -> str:
        return "single" if self.brokers == 1 else "cluster"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        return self.home / "run"


def from_environment(*, brokers: Literal[1, 3] | None = None) -> StackSettings:
    """
    This checkout's instance. Raises ConfigurationError, naming a setting that is unknown or wrong.

    A Kafka, registry, payment provider or mail server whose address is set is not run here.
    """
    loaded = load(StackProcessSettings, neighbours=SECTIONS)
    section, chosen = loaded.stack, brokers or loaded.stack.brokers
    elsewhere = {
        "kafka": {"ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS": loaded.kafka.bootstrap_servers}
        if "bootstrap_servers" in loaded.kafka.model_fields_set
        else {},
        "registry": {"ORDERFLOW_REGISTRY__URL": loaded.registry.url}
        if "url" in loaded.registry.model_fields_set
        else {},
        "psp": {PROVIDER_URL: os.environ[PROVIDER_URL]} if PROVIDER_URL in os.environ else {},
        "mail": {name: os.environ[name] for name in (SMTP_HOST, SMTP_PORT) if name in os.environ}
        if SMTP_HOST in os.environ
        else {},
    }

    state_dir = (section.state_dir or default_state_dir()).expanduser().absolute()
    cache_dir = section.cache_dir.expanduser().absolute()
    _refuse_name(state_dir, ",", "ORDERFLOW_STACK__STATE_DIR", "Kafka reads it as two directories")
    _refuse_name(cache_dir, ":", "ORDERFLOW_STACK__CACHE_DIR", "Java reads it as two directories")
    return StackSettings(
        home=state_dir / ("single" if chosen == 1 else "cluster"),
        cache_dir=cache_dir,
        brokers=chosen,
        services=tuple(service for service in section.services if not elsewhere.get(service)),
        ports=section.ports.moved_by(section.port_offset),
        maven_url=section.maven_url,
        elsewhere={name: value for given in elsewhere.values() for name, value in given.items()},
    )


def _refuse_name(place: Path, mark: str, setting: str, why: str) -> None:
    """Every other name works: a blank, a quote, a percent sign, a letter of any language."""
    if mark in str(place):
        raise ConfigurationError(
            f"{setting}: {place} has a {mark!r} in its name ({why}): choose another place"
        )


def default_state_dir() -> Path:
    """
    The state directory of this checkout.

    As root it is a system directory: PostgreSQL then runs as `nobody` and must reach its data.
    """
    root = checkout()
    name = checkout_name(root)
    if os.geteuid() == 0:
        return Path("/var/lib/orderflow") / name
    return platformdirs.user_state_path("orderflow", appauthor=False) / name


def checkout() -> Path:
    """The directory that holds `src/`; for an installed package, its environment."""
    root = Path(orderflow.__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path(sys.prefix).resolve()
