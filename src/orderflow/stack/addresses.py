"""Addresses: as shell exports for people and tools, as `ORDERFLOW_…` settings for our processes."""

from __future__ import annotations

import os

from orderflow.books.settings import BooksDatabases
from orderflow.contracts.roster import ROSTER, Roster, Row
from orderflow.stack.parts import connect, jars, kafka, registry, zipkin
from orderflow.stack.parts.java import java, java_home
from orderflow.stack.ports import HOST
from orderflow.stack.settings import PROVIDER_URL, SMTP_HOST, SMTP_PORT, StackSettings

DEFAULT_PAYMENT_METHOD = "ORDERFLOW_ORDER__DEFAULT_PAYMENT_METHOD"


def database_url(settings: StackSettings, name: str) -> str:
    """A database of the local PostgreSQL."""
    return f"postgresql://postgres@{HOST}:{settings.ports.postgres}/{name}"


def api_url(settings: StackSettings, service: str) -> str:
    return f"http://{HOST}:{settings.ports.of(service, 'api')}"


def psp_url(settings: StackSettings) -> str:
    """The simulated payment provider."""
    return f"http://{HOST}:{settings.ports.psp}"


def lake_url(settings: StackSettings) -> str:
    """The lake's exporter, which answers what is in the files."""
    return f"http://{HOST}:{settings.ports.of('lake', 'exporter')}"


def mail_url(settings: StackSettings) -> str:
    """The local mail sink, by its API."""
    return f"http://{HOST}:{settings.ports.mail_api}"


def exports(settings: StackSettings, roster: Roster = ROSTER) -> dict[str, str]:
    """
    What an outside client needs, Kafka's own Java tools included.

    The names are public and stay: for each service `<SERVICE>_API_URL` and
    `<SERVICE>_DATABASE_URL`, if it has one.
    """
    ours = process_environment(settings, roster)
    services = {
        name: value
        for member in roster
        for name, value in (
            (
                f"{member.name.upper()}_API_URL",
                api_url(settings, member.name) if "api" in member.roles else None,
            ),
            (
                f"{member.name.upper()}_DATABASE_URL",
                ours.get(f"ORDERFLOW_{member.name.upper()}__DATABASE__DSN"),
            ),
        )
        if value is not None
    }

    return {
        "KAFKA_BOOTSTRAP_SERVERS": ours["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"],
        "SCHEMA_REGISTRY_URL": ours["ORDERFLOW_REGISTRY__URL"],
        **services,
        "PSP_URL": ours[PROVIDER_URL],
        "MAIL_API_URL": mail_url(settings),
        **({"ZIPKIN_URL": zipkin.url(settings)} if "zipkin" in settings.services else {}),
        **_connect_exports(settings),
        "KAFKA_CLASSPATH": jars.locate(settings.cache_dir).kafka_classpath,
        "KAFKA_JAVA": java(),
        "JAVA_HOME": str(java_home()),
    }


def _connect_exports(settings: StackSettings) -> dict[str, str]:
    if "connect" not in settings.services:
        return {}
    return {
        "CONNECT_URL": connect.url(settings),
        "WAREHOUSE_DATABASE_URL": database_url(settings, connect.WAREHOUSE),
    }


def process_environment(settings: StackSettings, roster: Roster = ROSTER) -> dict[str, str]:
    """What our own processes and deploy steps read, in the form of their settings."""
    return {
        "ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers(settings),
        "ORDERFLOW_REGISTRY__URL": registry.url(settings),
        **{
            name: value
            for member in roster
            for name, value in _service_environment(settings, member).items()
        },
        **_neighbours_environment(settings),
        **_operations_environment(settings),
        **books_environment(settings, roster),
        **_demo_environment(settings),
        **zipkin.process_environment(settings),
        **connect.process_environment(settings),
        **settings.elsewhere,
        **settings.environment,
    }


def _service_environment(settings: StackSettings, member: Row) -> dict[str, str]:
    """Its state, and where each of its processes listens: the section of its first role."""
    section = f"ORDERFLOW_{member.name.upper()}"
    ports = {
        process.roles[0]: settings.ports.of(member.name, process.roles[0])
        for process in member.runs
    }

    return {
        **_state_of(settings, member, section),
        **{f"{section}__{role.upper()}__HOST": HOST for role in ports},
        **{f"{section}__{role.upper()}__PORT": str(port) for role, port in ports.items()},
    }


def _state_of(settings: StackSettings, member: Row, section: str) -> dict[str, str]:
    if member.has_database:
        return {f"{section}__DATABASE__DSN": database_url(settings, member.name)}
    place = settings.data / member.name
    if member.writes_files:
        return {f"{section}__STORE__URL": place.as_uri()}
    return {f"{section}__STATE_DIR": str(place)} if member.has_stores else {}


def _neighbours_environment(settings: StackSettings) -> dict[str, str]:
    return {
        PROVIDER_URL: psp_url(settings),
        "ORDERFLOW_PSP__HOST": HOST,
        "ORDERFLOW_PSP__PORT": str(settings.ports.psp),
        "ORDERFLOW_PSP__DIRECTORY": str(settings.data / "psp"),
        SMTP_HOST: HOST,
        SMTP_PORT: str(settings.ports.mail_smtp),
        "ORDERFLOW_MAIL__HOST": HOST,
        "ORDERFLOW_MAIL__PORT": str(settings.ports.mail_api),
        "ORDERFLOW_MAIL__SMTP_HOST": HOST,
        "ORDERFLOW_MAIL__SMTP_PORT": str(settings.ports.mail_smtp),
        "ORDERFLOW_MAIL__DIRECTORY": str(settings.data / "mail"),
    }


def _operations_environment(settings: StackSettings) -> dict[str, str]:
    """Whom operations asks over HTTP; an order service that is run elsewhere is the caller's."""
    if "order" not in settings.services:
        return {}
    return {"ORDERFLOW_OPERATIONS__ORDER__URL": api_url(settings, "order")}


def books_environment(settings: StackSettings, roster: Roster = ROSTER) -> dict[str, str]:
    """What the books compare, and where they remember how far they have read."""
    return {
        **{
            f"ORDERFLOW_BOOKS__DATABASES__{member.name.upper()}": database_url(
                settings, member.name
            )
            for member in roster
            if member.has_database and member.name in BooksDatabases.model_fields
        },
        **_copies_environment(settings),
        "ORDERFLOW_BOOKS__LEDGER_URL": psp_url(settings),
        "ORDERFLOW_BOOKS__STATE_DIR": str(settings.data / "books"),
    }


def _copies_environment(settings: StackSettings) -> dict[str, str]:
    """The copies of the payments that this instance has, which the books compare as well."""
    copies = {}
    if "connect" in settings.services:
        copies["ORDERFLOW_BOOKS__WAREHOUSE"] = database_url(settings, connect.WAREHOUSE)
    if "lake" in settings.services:
        copies["ORDERFLOW_BOOKS__LAKE_URL"] = lake_url(settings)
    return copies


def _demo_environment(settings: StackSettings) -> dict[str, str]:
    """A default payment method for whoever tries the API out; of our simulated provider only."""
    if PROVIDER_URL in settings.elsewhere:
        return {}
    return {DEFAULT_PAYMENT_METHOD: os.environ.get(DEFAULT_PAYMENT_METHOD, "pm_ok")}
