"""The only place that builds things. Read from top to bottom: migrate, api, listener, sender, relay."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.process.role import Fail, Role, worker_role
from orderflow.messaging.process.roles import api_role, listener_role, relay_role
from orderflow.services.notification.api import application
from orderflow.services.notification.config import Settings
from orderflow.services.notification.listeners import LISTENER
from orderflow.services.notification.sender import SERVICE, Sender

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(settings: Settings) -> list[str]:
    return postgres.migrate(settings.notification.database.dsn.get_secret_value(), MIGRATIONS)


def role(settings: Settings, name: str, slot: int, fail: Fail) -> Role:
    if name == "api":
        return api(settings)
    if name == "listener":
        return listener(settings, slot, fail)
    return sender(settings, slot, fail) if name == "sender" else relay(settings, fail)


def api(settings: Settings) -> Role:
    notification = settings.notification
    return api_role(
        SERVICE,
        section=notification.api,
        database=notification.database,
        table="delivery",
        app=application,
    )


def listener(settings: Settings, slot: int, fail: Fail) -> Role:
    notification = settings.notification
    return listener_role(
        LISTENER,
        settings=settings,
        catalogue=CATALOGUE,
        section=notification.listener,
        slot=slot,
        fail=fail,
        database=notification.database,
    )


def sender(settings: Settings, slot: int, fail: Fail) -> Role:
    section = settings.notification.sender
    sending = Sender(settings, slot=slot)
    return worker_role(
        f"{SERVICE}-sender",
        host=section.host,
        port=section.port + slot,
        run=sending.run,
        reasons=sending.reasons,
        fail=fail,
    )


def relay(settings: Settings, fail: Fail) -> Role:
    notification = settings.notification
    return relay_role(
        SERVICE,
        settings=settings,
        database=notification.database,
        section=notification.relay,
        fail=fail,
        commands=OPERATOR_COMMANDS,
    )
