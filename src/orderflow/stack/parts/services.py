"""Our own processes: the deploy steps (topics, schemas, migrations), then the services."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from orderflow.contracts.roster import ROSTER, Process, Roster, Row, row
from orderflow.stack.addresses import process_environment
from orderflow.stack.parts import kafka
from orderflow.stack.ports import HOST
from orderflow.stack.secret_values import PARTNERS, provider_environment
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import (
    Command,
    Component,
    http_probe,
    make_directory,
    own_environment,
)

DEPLOYED = ("topics", "schemas")
NOTHING_MORE: Mapping[str, str] = {}


def deploy_steps(settings: StackSettings) -> list[Component]:
    """What has to be in place before any service starts. Repeated, a step changes nothing."""
    return [
        deploy_step(
            settings, "topics", "orderflow.cli.main", "topics", "apply", needs=kafka.names(settings)
        ),
        deploy_step(
            settings, "schemas", "orderflow.cli.main", "schemas", "apply", needs=("registry",)
        ),
        deploy_step(
            settings,
            "connectors",
            "orderflow.cli.main",
            "connect",
            "apply",
            needs=("connect", *DEPLOYED),
            service="connect",
        ),
    ]


def components(settings: StackSettings, roster: Roster = ROSTER) -> list[Component]:
    """The services' migrations and processes, and the neighbours they call."""
    return [
        *(part for member in roster for part in _service(settings, member, roster)),
        _demo_data(settings, "products", service="order", process="order-api"),
        _demo_data(settings, "stock", service="inventory", process="inventory"),
        _provider(settings),
        _mail(settings),
    ]


def _service(settings: StackSettings, member: Row, roster: Roster) -> list[Component]:
    processes = [_process(settings, member, run, roster) for run in member.runs]
    if not member.has_database:
        return processes

    migration = Component(
        name=f"{member.name}-migrate",
        service=member.name,
        role="step",
        once=True,
        needs=("databases",),
        command=_python(settings, member.package, "--roles", "migrate", roster=roster),
    )
    return [migration, *processes]


def _process(settings: StackSettings, member: Row, process: Process, roster: Roster) -> Component:
    """A process of a service. Its health is served on the port of its first role."""
    roles = ",".join(process.roles)
    port = settings.ports.of(member.name, process.roles[0])

    return Component(
        name=process.name,
        service=member.name,
        role=roles,
        needs=_needs(member),
        address=f"http://{HOST}:{port}",
        ports=(port,),
        command=_python(
            settings, member.package, "--roles", roles, roster=roster, partner=member.name
        ),
        probe=http_probe(port, "/readyz"),
    )


def _needs(member: Row) -> tuple[str, ...]:
    return (*DEPLOYED, f"{member.name}-migrate") if member.has_database else DEPLOYED


def worker(settings: StackSettings, service: str, roles: str, *, slot: int, port: int) -> Component:
    """
    One more worker of a service, in a slot of its own. `roles` are without an API.

    The worker's health is served on `port`.
    """
    first = roles.partition(",")[0]
    # Workers of one host have neighbouring ports: a role adds its slot to the port that is set.
    moved = {f"ORDERFLOW_{service.upper()}__{first.upper()}__PORT": str(port - slot)}
    command = _python(
        settings,
        row(service).package,
        "--roles",
        roles,
        "--slot",
        str(slot),
        environment=moved,
        partner=service,
    )

    return Component(
        name=f"{service}-{slot}",
        service=service,
        role=roles,
        slot=slot,
        needs=_needs(row(service)),
        address=f"http://{HOST}:{port}",
        ports=(port,),
        command=command,
        probe=http_probe(port, "/readyz"),
    )


def _provider(settings: StackSettings) -> Component:
    """The simulated payment provider: a neighbour with a ledger of its own."""
    port = settings.ports.psp
    return Component(
        name="psp",
        service="psp",
        role="provider",
        address=f"http://{HOST}:{port}",
        ports=(port,),
        prepare=lambda: _make(settings.data / "psp"),
        command=_python(settings, "orderflow.neighbours.psp", partner="psp"),
        probe=http_probe(port, "/readyz"),
    )


def _mail(settings: StackSettings) -> Component:
    """The local mail sink: a neighbour that delivers nothing, and needs nothing of ours."""
    ports = settings.ports
    return Component(
        name="mail",
        service="mail",
        role="mailbox",
        address=f"http://{HOST}:{ports.mail_api}",
        ports=(ports.mail_api, ports.mail_smtp),
        prepare=lambda: _make(settings.data / "mail"),
        command=_python(settings, "orderflow.neighbours.mail"),
        probe=http_probe(ports.mail_api, "/readyz"),
    )


def _make(place: Path) -> None:
    make_directory(place)


def _demo_data(settings: StackSettings, what: str, *, service: str, process: str) -> Component:
    """What a fresh stack of ours is filled with, once the service's API is there."""
    url = f"http://{HOST}:{settings.ports.of(service, 'api')}"
    return Component(
        name=f"demo-{what}",
        service=service,
        role="step",
        once=True,
        needs=(process,),
        command=_python(settings, "orderflow.stack.demo_data", what, url),
    )


def deploy_step(
    settings: StackSettings,
    name: str,
    module: str,
    *arguments: str,
    needs: tuple[str, ...],
    service: str = "deploy",
) -> Component:
    """A module of ours that is run once; repeated, it changes nothing."""
    return Component(
        name=name,
        service=service,
        role="step",
        once=True,
        needs=needs,
        command=_python(settings, module, *arguments),
    )


def _python(
    settings: StackSettings,
    module: str,
    *arguments: str,
    roster: Roster = ROSTER,
    environment: Mapping[str, str] = NOTHING_MORE,
    partner: str = "",
) -> Callable[[], Command]:
    """
    How to run a module of ours, with `environment` on top of the stack's own.

    Of the caller's environment it gets what `own_environment` passes on. The secrets of payment and
    its provider are for these two alone: `partner` names the service that is run.
    """

    def command() -> Command:
        shared = provider_environment(settings) if partner in PARTNERS else NOTHING_MORE
        addresses = process_environment(settings, roster)
        return Command(
            argv=(sys.executable, "-m", module, *arguments),
            env={**own_environment(), **shared, **addresses, **environment},
            cwd=str(settings.home),
        )

    return command
