"""What each role of the fulfilment service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.process.roles import api_role, listener_role
from orderflow.messaging.process.service import Service
from orderflow.services.fulfilment.api import build_api
from orderflow.services.fulfilment.config import Settings
from orderflow.services.fulfilment.listeners import LISTENER

SERVICE = Service(
    name="fulfilment",
    program="python -m orderflow.services.fulfilment",
    settings=Settings,
    roles={
        "api": api_role(build_api, table="shipment"),
        "listener": listener_role(LISTENER, catalogue=CATALOGUE),
    },
    migrations=(Path(__file__).parent / "migrations",),
    neighbours=SECTIONS,
)
