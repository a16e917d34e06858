"""The only place that builds things. Read from top to bottom: migrate, api, listener."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.listener import Listener
from orderflow.messaging.process.role import Fail, Role
from orderflow.messaging.process.roles import api_role, listener_role
from orderflow.services.payment.api import app
from orderflow.services.payment.config import Settings
from orderflow.services.payment.gateway import Gateway, HttpGateway
from orderflow.services.payment.handlers import Payments
from orderflow.services.payment.listeners import listener as table
from orderflow.services.payment.provider_calls import ProviderCalls

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(settings: Settings) -> list[str]:
    return postgres.migrate(settings.payment.database.dsn.get_secret_value(), MIGRATIONS)


def build(settings: Settings, role: str, slot: int, fail: Fail) -> Role:
    return api(settings) if role == "api" else listener(settings, slot, fail)


def api(settings: Settings) -> Role:
    payment = settings.payment
    return api_role(
        "payment", section=payment.api, database=payment.database, table="payment", app=app
    )


def listener(settings: Settings, slot: int, fail: Fail) -> Role:
    payment = settings.payment
    return listener_role(
        listening(settings, HttpGateway(payment.psp), calls_max=payment.psp.calls_max),
        settings=settings,
        catalogue=CATALOGUE,
        section=payment.listener,
        slot=slot,
        fail=fail,
        protocol=payment.listener.protocol,
    )


def listening(settings: Settings, gateway: Gateway, *, calls_max: int) -> Listener:
    """The table over a provider; any other gateway than the one over HTTP is a benchmark's or a test's."""
    payment = settings.payment
    session = postgres.Session(
        payment.database, application_name="payment-listener", session=postgres.BY_KEY
    )
    provider_calls = ProviderCalls(gateway, key_window=timedelta(seconds=payment.psp.key_window_s))
    return table(Payments(session.transaction, provider_calls), calls_max=calls_max)
