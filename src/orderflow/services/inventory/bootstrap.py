"""What each role of the inventory service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.http.server import Role
from orderflow.messaging.process.outbox_backlog import outbox_backlog
from orderflow.messaging.process.role import Launch
from orderflow.messaging.process.roles import api_role, listener_role, relay_role
from orderflow.messaging.process.service import Service
from orderflow.services.inventory.api import build_api
from orderflow.services.inventory.config import Settings
from orderflow.services.inventory.listeners import LISTENER


def api(launch: Launch[Settings]) -> Role:
    settings = launch.settings.inventory.api
    build = partial(
        build_api,
        body_bytes_max=settings.body_bytes_max,
        announce_every=timedelta(seconds=settings.announce_every_s),
    )
    return api_role(build, table="stock", measurements=outbox_backlog(launch.service))(launch)


SERVICE = Service(
    name="inventory",
    program="python -m orderflow.services.inventory",
    settings=Settings,
    roles={
        "api": api,
        "listener": listener_role(LISTENER, catalogue=CATALOGUE),
        "relay": relay_role(commands=OPERATOR_COMMANDS),
    },
    migrations=(Path(__file__).parent / "migrations",),
    neighbours=SECTIONS,
)
