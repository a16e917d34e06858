"""The three roles that services are made of: an API over a database, a listener, a relay. Each as one call."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp

from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.settings import Protocol
from orderflow.messaging.container.upkeep import Maintained
from orderflow.messaging.errors import NEUTRAL, OperatorCommands
from orderflow.messaging.http.health import Reasons
from orderflow.messaging.listener import Listener
from orderflow.messaging.postgres import ConnectionPool, DatabaseError, open_pool, transient
from orderflow.messaging.process.role import Fail, Role, worker_role
from orderflow.messaging.relay import Relay, RelaySettings
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.settings import (
    ApiSection,
    DatabaseSettings,
    ProcessSettings,
    RelaySection,
    RoleSection,
)


def api_role(
    service: str,
    *,
    section: ApiSection,
    database: DatabaseSettings,
    table: str,
    app: Callable[[ConnectionPool, Reasons], ASGIApp],
) -> Role:
    """
    An API that reads its service's database through a pool. Not ready while the database is away, or has no `table`.

    `app(pool, reasons)` makes the application; the reasons are those of all roles of the process.
    """
    pool = open_pool(database, application_name=f"{service}-api")
    return Role(
        name=f"{service}-api",
        host=section.host,
        port=section.port,
        start=lambda: None,
        close=pool.close,
        reasons=lambda: unreachable(pool, table),
        app=lambda reasons: app(pool, reasons),
    )


def listener_role(
    listener: Listener,
    *,
    settings: ProcessSettings,
    catalogue: SchemaCatalogue,
    section: RoleSection,
    slot: int,
    fail: Fail,
    database: DatabaseSettings | None = None,
    protocol: Protocol = "classic",
) -> Role:
    """
    A listener in its container, as worker `slot`. With `InboxOutbox` it needs the database of its effects.

    Its relay, if it publishes, is the one of its own name.
    """
    container = Container(
        ContainerSettings(
            listener=listener,
            kafka=settings.kafka,
            registry=settings.registry,
            catalogue=catalogue,
            slot=slot,
            database=database,
            protocol=protocol,
            log_records=settings.telemetry.log_records,
        )
    )
    runs: Container | Maintained = container
    if database is not None:
        runs = Maintained(
            container, service=listener.name, database=database, publishes=bool(listener.publishes)
        )
    return worker_role(
        f"{listener.name}-listener",
        host=section.host,
        port=section.port + slot,
        run=runs.run,
        reasons=runs.reasons,
        fail=fail,
    )


def relay_role(
    service: str,
    *,
    settings: ProcessSettings,
    database: DatabaseSettings,
    section: RelaySection,
    fail: Fail,
    commands: OperatorCommands = NEUTRAL,
) -> Role:
    """The relay of a service's outbox. Its refusals name `commands`."""
    relay = Relay(
        RelaySettings(
            service=service,
            database=database,
            kafka=settings.kafka,
            tick_every_s=section.tick_every_s,
            commands=commands,
        )
    )

    def reasons() -> list[str]:
        health = relay.health
        return [] if health.ready else [f"relay {health.state}: {health.reason}".rstrip(": ")]

    return worker_role(
        f"{service}-relay",
        host=section.host,
        port=section.port,
        run=relay.run,
        reasons=reasons,
        fail=fail,
    )


def unreachable(pool: ConnectionPool, table: str) -> list[str]:
    """Why the database can't be used, if it can't: at most 1 s of asking."""
    try:
        with pool.connection(timeout=1) as connection:
            found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    except DatabaseError as error:
        return [f"database: {transient(error) or error}"]
    return [] if found == (True,) else ["database: not migrated; run it with `--roles migrate`"]
