"""The only place that builds things. Read from top to bottom: migrate, api, listener, sender, relay."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import NOTIFICATIONS
from orderflow.messaging import postgres
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.process.role import Fail, Role, worker_role
from orderflow.messaging.process.roles import api_role, listener_role, relay_role
from orderflow.messaging.work.calls import Calls
from orderflow.messaging.work.gate import Gate
from orderflow.services.notification.api import application
from orderflow.services.notification.config import Settings
from orderflow.services.notification.listeners import LISTENER
from orderflow.services.notification.mailer import Mailer
from orderflow.services.notification.sender import Sender

SERVICE = "notification"
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
    notification = settings.notification
    section = notification.sender
    name = f"{SERVICE}-sender-{slot}"
    session = postgres.Session(
        notification.database, application_name=name, session=postgres.BY_KEY
    )
    # The mailer asks the sender whether to begin another letter, and the sender's calls are its.
    mailer = Mailer(notification.smtp, stopping=lambda: sending.is_stopping)
    sending = Sender(
        name,
        settings=section,
        prerequisites=Prerequisites(
            transaction=session.transaction,
            relay=SERVICE,
            registry=settings.registry,
            catalogue=CATALOGUE,
            topics=(NOTIFICATIONS.name,),
        ),
        session=session,
        mailer=mailer,
        calls=Calls(mailer.call, section.connections_max),
        mail_gate=Gate(name, "send"),
        database_gate=Gate(name, "record"),
    )
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
    )
