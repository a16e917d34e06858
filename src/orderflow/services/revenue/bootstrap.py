"""What each role of the revenue service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

from contextlib import ExitStack, closing

from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.http.server import Role
from orderflow.messaging.process.role import Launch
from orderflow.messaging.process.roles import listener_role
from orderflow.messaging.process.service import Service
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.streams.directory import Directory, Instance
from orderflow.messaging.streams.interactive_queries import Queries
from orderflow.messaging.streams.local_state import LocalState
from orderflow.messaging.telemetry import ComputedGauge
from orderflow.services.revenue.api import build_api
from orderflow.services.revenue.config import Settings
from orderflow.services.revenue.listeners import LISTENER
from orderflow.services.revenue.topology import TOPOLOGY

RECORDS_MAX = 10_000
"""Folding is quick: a large batch changes a customer's total once, and sends fewer records."""

FRESHNESS = ComputedGauge(
    "revenue_freshness_seconds",
    "How old the oldest of this instance's answers would be: payments since then may be missing.",
)

_LOCAL = LocalState()
"""What this process has of the tables: its listener writes it, its API reads it."""


def listener(launch: Launch[Settings]) -> Role:
    overrides = {
        "session.timeout.ms": int(launch.settings.revenue.session_s * 1000),
        # In the group's own description of its members the others find where to ask.
        "client.id": f"{_name(launch)}@{_url(launch)}",
    }

    return listener_role(
        LISTENER,
        catalogue=CATALOGUE,
        local=_LOCAL,
        overrides=overrides,
        records_max=RECORDS_MAX,
    )(launch)


def api(launch: Launch[Settings]) -> Role:
    settings, opened = launch.settings, ExitStack()
    own = Instance(_name(launch), _url(launch))
    directory = Directory(settings.kafka, group=LISTENER.group, topology=TOPOLOGY, own=own)
    queries = Queries(TOPOLOGY, local=_LOCAL, directory=directory, instance=own.name)
    decoder = Decoder(opened.enter_context(closing(Registry(settings.registry))))
    FRESHNESS.follow(lambda: _freshness(queries))
    opened.callback(queries.close)
    opened.callback(directory.close)

    return Role(
        name=f"{launch.service}-{launch.role}",
        host=settings.revenue.api.host,
        port=settings.revenue.api.port + launch.slot,
        app=lambda reasons: build_api(queries, decoder, reasons),
        reasons=directory.reasons,
        start=directory.start,
        close=opened.close,
    )


def _freshness(queries: Queries) -> dict[tuple[str, ...], float]:
    oldest_s = queries.oldest_s()
    return {} if oldest_s is None else {(): oldest_s}


def _name(launch: Launch[Settings]) -> str:
    return f"{LISTENER.name}-{launch.slot}"


def _url(launch: Launch[Settings]) -> str:
    """Where other instances reach this one's API; instances of one host have the next ports."""
    revenue = launch.settings.revenue
    return revenue.url or f"http://{revenue.api.host}:{revenue.api.port + launch.slot}"


SERVICE = Service(
    name="revenue",
    program="python -m orderflow.services.revenue",
    settings=Settings,
    roles={"api": api, "listener": listener},
    neighbours=SECTIONS,
)
