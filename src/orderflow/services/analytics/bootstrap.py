"""The only place that builds things. Read from top to bottom: migrate, api, listener."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.process.role import Fail, Role
from orderflow.messaging.process.roles import api_role, listener_role
from orderflow.services.analytics.api import application
from orderflow.services.analytics.config import Settings
from orderflow.services.analytics.listeners import LISTENER

MIGRATIONS = Path(__file__).parent / "migrations"
SERVICE = "analytics"


def migrate(settings: Settings) -> list[str]:
    return postgres.migrate(settings.analytics.database.dsn.get_secret_value(), MIGRATIONS)


def role(settings: Settings, name: str, slot: int, fail: Fail) -> Role:
    return api(settings) if name == "api" else listener(settings, slot, fail)


def api(settings: Settings) -> Role:
    analytics = settings.analytics
    return api_role(
        SERVICE,
        section=analytics.api,
        database=analytics.database,
        table="status_change",
        app=application,
    )


def listener(settings: Settings, slot: int, fail: Fail) -> Role:
    analytics = settings.analytics
    return listener_role(
        LISTENER,
        settings=settings,
        catalogue=CATALOGUE,
        section=analytics.listener,
        slot=slot,
        fail=fail,
        database=analytics.database,
    )
