"""What each role of the payment service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.http.server import Role
from orderflow.messaging.listener import Listener
from orderflow.messaging.process.role import Launch
from orderflow.messaging.process.roles import api_role, listener_role
from orderflow.messaging.process.service import Service
from orderflow.services.payment.api import build_api
from orderflow.services.payment.config import Settings
from orderflow.services.payment.gateway import Gateway, HttpGateway
from orderflow.services.payment.handlers import Payments
from orderflow.services.payment.listeners import with_payments
from orderflow.services.payment.measurements import MEASUREMENTS
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.upkeep import with_upkeep


def listener(launch: Launch[Settings]) -> Role:
    psp = launch.settings.payment.psp
    charging = listening(launch.settings, HttpGateway(psp), calls_max=psp.calls_max)
    return listener_role(charging, catalogue=CATALOGUE)(launch)


def listening(settings: Settings, gateway: Gateway, *, calls_max: int) -> Listener:
    """The listener over a provider: the one over HTTP, or that of a benchmark or a test."""
    payment = settings.payment
    session = postgres.Session(
        payment.database, application_name="payment-listener", session=postgres.BY_KEY
    )
    provider_calls = ProviderCalls(gateway, key_window=timedelta(seconds=payment.psp.key_window_s))
    return with_payments(Payments(session, provider_calls), calls_max=calls_max)


def api(launch: Launch[Settings]) -> Role:
    session = postgres.Session(launch.database, application_name="payment-upkeep")
    secrets = launch.settings.payment.psp.webhook_secrets.get_secret_value().split()
    build = partial(build_api, webhook_secrets=secrets)
    role = api_role(build, table="webhook", measurements=MEASUREMENTS)(launch)
    return with_upkeep(role, session)


SERVICE = Service(
    name="payment",
    program="python -m orderflow.services.payment",
    settings=Settings,
    roles={"api": api, "listener": listener},
    migrations=(Path(__file__).parent / "migrations",),
    neighbours=SECTIONS,
)
