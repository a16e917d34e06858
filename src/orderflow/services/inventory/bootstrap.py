"""The only place that builds things. Read from top to bottom: migrate, api, listener, relay."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.relayed import Relayed
from orderflow.messaging.postgres import DatabaseError, transient
from orderflow.messaging.process import Fail, Role, container_role, relay_role
from orderflow.messaging.relay import Relay, RelaySettings
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
    pool = postgres.open_pool(inventory.database, application_name="inventory-api")

    def reasons() -> list[str]:
        try:
            with pool.connection(timeout=1) as connection:
                connection.execute("SELECT 1")
        except DatabaseError as error:
            return [f"database: {transient(error) or error}"]
        return []

    return Role(
        name="inventory-api",
        host=inventory.api.host,
        port=inventory.api.port,
        start=lambda: None,
        close=pool.close,
        reasons=reasons,
        app=lambda reasons: application(pool, reasons=reasons, body_bytes_max=inventory.api.body_bytes_max),
    )


def listener(settings: Settings, slot: int, fail: Fail) -> Role:
    inventory = settings.inventory
    container = Container(
        ContainerSettings(
            listener=LISTENER,
            kafka=settings.kafka,
            registry=settings.registry,
            catalogue=CATALOGUE,
            slot=slot,
            database=inventory.database,
        )
    )
    return container_role(
        Relayed(container, service=SERVICE, database=inventory.database),
        name="inventory-listener",
        host=inventory.listener.host,
        port=inventory.listener.port + slot,
        fail=fail,
    )


def relay(settings: Settings, fail: Fail) -> Role:
    inventory = settings.inventory
    publisher = Relay(
        RelaySettings(
            service=SERVICE,
            database=inventory.database,
            kafka=settings.kafka,
            tick_every_s=inventory.relay.tick_every_s,
        )
    )
    return relay_role(
        publisher, name="inventory-relay", host=inventory.relay.host, port=inventory.relay.port, fail=fail
    )
