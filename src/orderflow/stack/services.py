"""Our own processes: the deploy steps (topics, schemas, migrations), then the services."""

from __future__ import annotations

import os
import sys

from orderflow.stack import kafka
from orderflow.stack.addresses import order_api_url, process_environment
from orderflow.stack.component import Command, Component, http_probe
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings

DATABASES = ("order",)
DEPLOYED = ("topics", "schemas", "order-migrate")


def deploy_steps(settings: StackSettings) -> list[Component]:
    """What has to be in place before any service starts. Each can be repeated, and changes nothing then."""
    return [
        _step(settings, "topics", "orderflow.cli.main", "topics", "apply", needs=kafka.names(settings)),
        _step(settings, "schemas", "orderflow.cli.main", "schemas", "apply", needs=("registry",)),
    ]


def components(settings: StackSettings) -> list[Component]:
    """The services' migrations and processes."""
    ports = settings.ports
    return [
        Component(
            name="order-migrate",
            service="order",
            role="step",
            once=True,
            needs=("databases",),
            command=lambda: _python(settings, "orderflow.services.order", "--roles", "migrate"),
        ),
        Component(
            name="order-api",
            service="order",
            role="api",
            needs=DEPLOYED,
            address=order_api_url(settings),
            ports=(ports.order_api,),
            command=lambda: _python(settings, "orderflow.services.order", "--roles", "api"),
            probe=http_probe(ports.order_api, "/readyz"),
        ),
        Component(
            name="order-relay",
            service="order",
            role="relay",
            needs=DEPLOYED,
            address=f"http://{HOST}:{ports.order_relay}",
            ports=(ports.order_relay,),
            command=lambda: _python(settings, "orderflow.services.order", "--roles", "relay"),
            probe=http_probe(ports.order_relay, "/readyz"),
        ),
    ]


def _step(settings: StackSettings, name: str, module: str, *arguments: str, needs: tuple[str, ...]) -> Component:
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
