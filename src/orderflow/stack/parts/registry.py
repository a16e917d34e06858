"""
Apicurio Registry, by its Confluent-compatible API, storing in PostgreSQL.

In memory, a restart would lose the schema ids and make every record unreadable. Compatibility is
FULL_TRANSITIVE from the first request; `orderflow schemas apply` asserts it again.
"""

from __future__ import annotations

from orderflow.stack.parts import jars
from orderflow.stack.parts.java import SMALL_SERVER, java, quick_start
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import Command, Component, http_probe, plain_environment

SERVER = DATABASE = "registry"


def components(settings: StackSettings) -> list[Component]:
    """The registry; its database must exist."""
    ports = settings.ports

    return [
        Component(
            name="registry",
            service="registry",
            role="registry",
            needs=("databases",),
            address=url(settings),
            ports=(ports.registry, ports.registry_health),
            command=lambda: _command(settings),
            probe=http_probe(ports.registry_health, "/health/ready"),
            start_within_s=120.0,
        )
    ]


def url(settings: StackSettings) -> str:
    """The address that clients of Confluent's API take."""
    return f"http://{HOST}:{settings.ports.registry}/apis/ccompat/v7"


def _command(settings: StackSettings) -> Command:
    ports = settings.ports
    environment = plain_environment(
        QUARKUS_HTTP_HOST=HOST,
        QUARKUS_HTTP_PORT=str(ports.registry),
        QUARKUS_MANAGEMENT_HOST=HOST,
        QUARKUS_MANAGEMENT_PORT=str(ports.registry_health),
        QUARKUS_LOG_CONSOLE_COLOR="false",
        QUARKUS_HTTP_ACCESS_LOG_ENABLED="false",
        APICURIO_RULES_GLOBAL_COMPATIBILITY="FULL_TRANSITIVE",
        APICURIO_STORAGE_KIND="sql",
        APICURIO_STORAGE_SQL_KIND="postgresql",
        APICURIO_DATASOURCE_URL=f"jdbc:postgresql://{HOST}:{ports.postgres}/{DATABASE}",
        APICURIO_DATASOURCE_USERNAME="postgres",
        # PostgreSQL trusts this machine; the driver wants a value.
        APICURIO_DATASOURCE_PASSWORD="trusted",  # noqa: S106
        APICURIO_DATASOURCE_JDBC_INITIAL_SIZE="2",
        APICURIO_DATASOURCE_JDBC_MIN_SIZE="2",
        APICURIO_DATASOURCE_JDBC_MAX_SIZE="10",
    )

    home = str(jars.locate(settings.cache_dir).apicurio_home)
    options = ("-Xms64m", "-Xmx256m", *SMALL_SERVER, *quick_start(SERVER, home))
    return Command(argv=(java(), *options, "-jar", "quarkus-run.jar"), env=environment, cwd=home)
