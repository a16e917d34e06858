"""Our own processes: the deploy steps (topics, schemas, migrations), then the services."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from orderflow.stack.addresses import process_environment
from orderflow.stack.parts import kafka
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import Command, Component, http_probe, make_directory

DEPLOYED = ("topics", "schemas")


def deploy_steps(settings: StackSettings) -> list[Component]:
    """What has to be in place before any service starts. Each can be repeated, and changes nothing then."""
    return [
        _step(
            settings, "topics", "orderflow.cli.main", "topics", "apply", needs=kafka.names(settings)
        ),
        _step(settings, "schemas", "orderflow.cli.main", "schemas", "apply", needs=("registry",)),
    ]


def components(settings: StackSettings) -> list[Component]:
    """The services' migrations and processes."""
    ports = settings.ports
    return [
        _migration(settings, "order"),
        _process(settings, "order", "api", port=ports.order_api, name="order-api"),
        _process(
            settings, "order", "relay,listener,sweeper", port=ports.order_relay, name="order-relay"
        ),
        _provider(settings),
        _migration(settings, "payment"),
        _process(settings, "payment", "api,listener", port=ports.payment_api, name="payment"),
        _migration(settings, "inventory"),
        _process(
            settings, "inventory", "api,listener,relay", port=ports.inventory_api, name="inventory"
        ),
        _migration(settings, "fulfilment"),
        _process(
            settings, "fulfilment", "api,listener", port=ports.fulfilment_api, name="fulfilment"
        ),
        _migration(settings, "analytics"),
        _process(settings, "analytics", "api,listener", port=ports.analytics_api, name="analytics"),
        _mail(settings),
        _migration(settings, "notification"),
        _process(
            settings,
            "notification",
            "api,listener,sender,relay",
            port=ports.notification_api,
            name="notification",
        ),
    ]


def _migration(settings: StackSettings, service: str) -> Component:
    return Component(
        name=f"{service}-migrate",
        service=service,
        role="step",
        once=True,
        needs=("databases",),
        command=lambda: _python(settings, f"orderflow.services.{service}", "--roles", "migrate"),
    )


def _process(
    settings: StackSettings, service: str, roles: str, *, port: int, name: str
) -> Component:
    """A process of a service with these roles; `port` is where it tells how it is."""
    return Component(
        name=name,
        service=service,
        role=roles,
        needs=(*DEPLOYED, f"{service}-migrate"),
        address=f"http://{HOST}:{port}",
        ports=(port,),
        command=lambda: _python(settings, f"orderflow.services.{service}", "--roles", roles),
        probe=http_probe(port, "/readyz"),
    )


def worker(settings: StackSettings, service: str, roles: str, *, slot: int, port: int) -> Component:
    """One more worker of a service, in a slot of its own; `roles` without an API. `port` tells how it is."""
    face = roles.partition(",")[0]
    # Workers of one host have neighbouring ports: a role adds its slot.
    told = {f"ORDERFLOW_{service.upper()}__{face.upper()}__PORT": str(port - slot)}
    argv = (f"orderflow.services.{service}", "--roles", roles, "--slot", str(slot))

    def command() -> Command:
        plain = _python(settings, *argv)
        return replace(plain, env={**plain.env, **told})

    return Component(
        name=f"{service}-{slot}",
        service=service,
        role=roles,
        slot=slot,
        needs=(*DEPLOYED, f"{service}-migrate"),
        address=f"http://{HOST}:{port}",
        ports=(port,),
        command=command,
        probe=http_probe(port, "/readyz"),
    )


def _provider(settings: StackSettings) -> Component:
    """The simulated payment provider: a neighbour with a ledger of its own, and no need of anything of ours."""
    port = settings.ports.psp
    return Component(
        name="psp",
        service="psp",
        role="provider",
        address=f"http://{HOST}:{port}",
        ports=(port,),
        prepare=lambda: _make(settings.data / "psp"),
        command=lambda: _python(settings, "orderflow.neighbours.psp"),
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
        command=lambda: _python(settings, "orderflow.neighbours.mail"),
        probe=http_probe(ports.mail_api, "/readyz"),
    )


def _make(place: Path) -> None:
    make_directory(place)


def _step(
    settings: StackSettings, name: str, module: str, *arguments: str, needs: tuple[str, ...]
) -> Component:
    return Component(
        name=name,
        service="deploy",
        role="step",
        once=True,
        needs=needs,
        command=lambda: _python(settings, module, *arguments),
    )


def _python(settings: StackSettings, module: str, *arguments: str) -> Command:
    """A module of ours, with the caller's environment minus what is meant for the stack and for tests."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("ORDERFLOW_STACK__", "ORDERFLOW_TEST_STACK"))
    }
    return Command(
        argv=(sys.executable, "-m", module, *arguments),
        env={**inherited, **process_environment(settings)},
        cwd=str(settings.home),
    )
