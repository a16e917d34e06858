"""The only place that builds things. Read from top to bottom: migrate, api, listener, relay."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.process.role import Fail, Role
from orderflow.messaging.process.roles import api_role, listener_role, relay_role
from orderflow.services.inventory.api import application
from orderflow.services.inventory.config import Settings
from orderflow.services.inventory.listeners import LISTENER

MIGRATIONS = Path(__file__).parent / "migrations"
SERVICE = "inventory"


def migrate(settings: Settings) -> list[str]:
    return postgres.migrate(settings.inventory.database.dsn.get_secret_value(), MIGRATIONS)


def role(settings: Settings, name: str, slot: int, fail: Fail) -> Role:
    if name == "api":
        return api(settings)
    return listener(settings, slot, fail) if name == "listener" else relay(settings, fail)


def api(settings: Settings) -> Role:
    inventory = settings.inventory
    return api_role(
        SERVICE,
        section=inventory.api,
        database=inventory.database,
        table="stock",
        app=lambda pool, reasons: application(
            pool, reasons=reasons, body_bytes_max=inventory.api.body_bytes_max
        ),
    )


def listener(settings: Settings, slot: int, fail: Fail) -> Role:
    inventory = settings.inventory
    return listener_role(
        LISTENER,
        settings=settings,
        catalogue=CATALOGUE,
        section=inventory.listener,
        slot=slot,
        fail=fail,
        database=inventory.database,
    )


def relay(settings: Settings, fail: Fail) -> Role:
    inventory = settings.inventory
    return relay_role(
        SERVICE,
        settings=settings,
        database=inventory.database,
        section=inventory.relay,
        fail=fail,
        commands=OPERATOR_COMMANDS,
    )
