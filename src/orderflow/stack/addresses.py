"""Where everything is, and how others are told: shell exports for people and tools, `ORDERFLOW_…` for our processes."""

from __future__ import annotations

from orderflow.stack.parts import jars, kafka, registry
from orderflow.stack.parts.java import java_home
from orderflow.stack.ports import HOST
from orderflow.stack.settings import PROVIDER_URL, SMTP_HOST, SMTP_PORT, StackSettings

SERVICES = ("order", "payment", "inventory", "notification", "fulfilment", "analytics")
"""Each has an API and a database of its own, both of its name."""


def database_url(settings: StackSettings, name: str) -> str:
    """A database of the local PostgreSQL."""
    return f"postgresql://postgres@{HOST}:{settings.ports.postgres}/{name}"


def api_url(settings: StackSettings, service: str) -> str:
    return f"http://{HOST}:{_api_port(settings, service)}"


def psp_url(settings: StackSettings) -> str:
    """The simulated payment provider."""
    return f"http://{HOST}:{settings.ports.psp}"


def mail_url(settings: StackSettings) -> str:
    """The local mail sink, by its API."""
    return f"http://{HOST}:{settings.ports.mail_api}"


def exports(settings: StackSettings) -> dict[str, str]:
    """
    What an outside client needs, Kafka's own Java tools included.

    The names are public and stay: `<SERVICE>_API_URL` and `<SERVICE>_DATABASE_URL` for each service.
    """
    ours = process_environment(settings)
    services = {
        name: value
        for service in SERVICES
        for name, value in (
            (f"{service.upper()}_API_URL", api_url(settings, service)),
            (
                f"{service.upper()}_DATABASE_URL",
                ours[f"ORDERFLOW_{service.upper()}__DATABASE__DSN"],
            ),
        )
    }
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ours["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"],
        "SCHEMA_REGISTRY_URL": ours["ORDERFLOW_REGISTRY__URL"],
        **services,
        "PSP_URL": ours[PROVIDER_URL],
        "MAIL_API_URL": mail_url(settings),
        "KAFKA_CLASSPATH": jars.locate(settings.cache_dir).kafka_classpath,
        "JAVA_HOME": str(java_home()),
    }


def process_environment(settings: StackSettings) -> dict[str, str]:
    """What our own processes and deploy steps read, in the form of their settings."""
    services = {
        f"ORDERFLOW_{service.upper()}__{name}": value
        for service in SERVICES
        for name, value in (
            ("DATABASE__DSN", database_url(settings, service)),
            ("API__HOST", HOST),
            ("API__PORT", str(_api_port(settings, service))),
        )
    }
    return {
        "ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers(settings),
        "ORDERFLOW_REGISTRY__URL": registry.url(settings),
        **services,
        "ORDERFLOW_ORDER__RELAY__HOST": HOST,
        "ORDERFLOW_ORDER__RELAY__PORT": str(settings.ports.order_relay),
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
        **settings.elsewhere,
        **settings.environment,
    }


def _api_port(settings: StackSettings, service: str) -> int:
    port: int = getattr(settings.ports, f"{service}_api")
    return port
