"""
Zipkin: traces of this stack, in memory and gone with it. Only where `--with zipkin` asks for it.

It has no sign-in, and its own settings bind it to every interface: here it listens on loopback.
"""

from __future__ import annotations

import os

from orderflow.stack.parts import jars
from orderflow.stack.parts.java import SMALL_SERVER, java
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import Command, Component, http_probe, plain_environment

SPANS_MAX = 50_000
"""The oldest traces go when there are more: what fits into the heap with room to answer."""

EXPORTER = "ORDERFLOW_TELEMETRY__TRACES__EXPORTER"
ENDPOINT = "ORDERFLOW_TELEMETRY__TRACES__ENDPOINT"


def components(settings: StackSettings) -> list[Component]:
    """Zipkin, started last: nothing waits for it, and spans wait until it is there."""
    port = settings.ports.zipkin

    return [
        Component(
            name="zipkin",
            service="zipkin",
            role="traces",
            address=url(settings),
            ports=(port,),
            command=lambda: _command(settings),
            probe=http_probe(port, "/health"),
            start_within_s=180.0,
            awaited=False,
        )
    ]


def url(settings: StackSettings) -> str:
    """Its API; for people `/zipkin/`."""
    return f"http://{HOST}:{settings.ports.zipkin}"


def process_environment(settings: StackSettings) -> dict[str, str]:
    """Tracing to this Zipkin, for our processes; a caller who names another exporter keeps it."""
    if "zipkin" not in settings.services or os.environ.get(EXPORTER, "zipkin") != "zipkin":
        return {}
    endpoint = os.environ.get(ENDPOINT) or f"{url(settings)}/api/v2/spans"
    return {EXPORTER: "zipkin", ENDPOINT: endpoint}


def _command(settings: StackSettings) -> Command:
    port = settings.ports.zipkin
    environment = plain_environment(
        STORAGE_TYPE="mem", MEM_MAX_SPANS=str(SPANS_MAX), QUERY_PORT=str(port)
    )

    return Command(
        argv=(
            java(),
            "-Xms64m",
            "-Xmx256m",
            *SMALL_SERVER,
            "-jar",
            str(jars.zipkin_jar(settings.cache_dir)),
            f"--server.address={HOST}",
            # Without these three its own settings name only a port, on every interface.
            f"--armeria.ports[0].ip={HOST}",
            f"--armeria.ports[0].port={port}",
            "--armeria.ports[0].protocols[0]=http",
        ),
        env=environment,
        cwd=str(settings.home),
    )
