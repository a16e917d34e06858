"""The only place that builds things. Read from top to bottom: migrate, api, listener."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.process.role import Fail, Role
from orderflow.messaging.process.roles import api_role, listener_role
from orderflow.services.fulfilment.api import application
from orderflow.services.fulfilment.config import Settings
from orderflow.services.fulfilment.listeners import LISTENER

MIGRATIONS = Path(__file__).parent / "migrations"
SERVICE = "fulfilment"


def migrate(settings: Settings) -> list[str]:
    return postgres.migrate(settings.fulfilment.database.dsn.get_secret_value(), MIGRATIONS)


def role(settings: Settings, name: str, slot: int, fail: Fail) -> Role:
    return api(settings) if name == "api" else listener(settings, slot, fail)


def api(settings: Settings) -> Role:
    fulfilment = settings.fulfilment
    return api_role(
        SERVICE,
        section=fulfilment.api,
        database=fulfilment.database,
        table="shipment",
        app=application,
    )


def listener(settings: Settings, slot: int, fail: Fail) -> Role:
    fulfilment = settings.fulfilment
    return listener_role(
        LISTENER,
        settings=settings,
        catalogue=CATALOGUE,
        section=fulfilment.listener,
        slot=slot,
        fail=fail,
        database=fulfilment.database,
    )
