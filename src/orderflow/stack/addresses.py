"""Where everything is, and how others are told: shell exports for people and tools, `ORDERFLOW_…` for our processes."""

from __future__ import annotations

from orderflow.stack import jars, kafka, registry
from orderflow.stack.java import java_home
from orderflow.stack.ports import HOST
from orderflow.stack.settings import PROVIDER_URL, StackSettings


def database_url(settings: StackSettings, name: str) -> str:
    """A database of the local PostgreSQL."""
    return f"postgresql://postgres@{HOST}:{settings.ports.postgres}/{name}"


def order_api_url(settings: StackSettings) -> str:
    return f"http://{HOST}:{settings.ports.order_api}"


def payment_api_url(settings: StackSettings) -> str:
    return f"http://{HOST}:{settings.ports.payment_api}"


def inventory_api_url(settings: StackSettings) -> str:
    return f"http://{HOST}:{settings.ports.inventory_api}"


def psp_url(settings: StackSettings) -> str:
    """The simulated payment provider."""
    return f"http://{HOST}:{settings.ports.psp}"


def exports(settings: StackSettings) -> dict[str, str]:
    """
    What an outside client needs, Kafka's own Java tools included.

    The names are public and stay. Each service adds `<SERVICE>_API_URL` and `<SERVICE>_DATABASE_URL` to this table.
    """
    ours = process_environment(settings)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ours["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"],
        "SCHEMA_REGISTRY_URL": ours["ORDERFLOW_REGISTRY__URL"],
        "ORDER_API_URL": order_api_url(settings),
        "ORDER_DATABASE_URL": ours["ORDERFLOW_ORDER__DATABASE__DSN"],
        "PAYMENT_API_URL": payment_api_url(settings),
        "PAYMENT_DATABASE_URL": ours["ORDERFLOW_PAYMENT__DATABASE__DSN"],
        "INVENTORY_API_URL": inventory_api_url(settings),
        "INVENTORY_DATABASE_URL": ours["ORDERFLOW_INVENTORY__DATABASE__DSN"],
        "PSP_URL": ours[PROVIDER_URL],
        "KAFKA_CLASSPATH": jars.locate(settings.cache_dir).kafka_classpath,
        "JAVA_HOME": str(java_home()),
    }


def process_environment(settings: StackSettings) -> dict[str, str]:
    """What our own processes and deploy steps read, in the form of their settings."""
    return {
        "ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers(settings),
        "ORDERFLOW_REGISTRY__URL": registry.url(settings),
        "ORDERFLOW_ORDER__DATABASE__DSN": database_url(settings, "order"),
        "ORDERFLOW_ORDER__API__HOST": HOST,
        "ORDERFLOW_ORDER__API__PORT": str(settings.ports.order_api),
        "ORDERFLOW_ORDER__RELAY__HOST": HOST,
        "ORDERFLOW_ORDER__RELAY__PORT": str(settings.ports.order_relay),
        "ORDERFLOW_PAYMENT__DATABASE__DSN": database_url(settings, "payment"),
        "ORDERFLOW_PAYMENT__API__HOST": HOST,
        "ORDERFLOW_PAYMENT__API__PORT": str(settings.ports.payment_api),
        PROVIDER_URL: psp_url(settings),
        "ORDERFLOW_INVENTORY__DATABASE__DSN": database_url(settings, "inventory"),
        "ORDERFLOW_INVENTORY__API__HOST": HOST,
        "ORDERFLOW_INVENTORY__API__PORT": str(settings.ports.inventory_api),
        "ORDERFLOW_PSP__HOST": HOST,
        "ORDERFLOW_PSP__PORT": str(settings.ports.psp),
        "ORDERFLOW_PSP__DIRECTORY": str(settings.data / "psp"),
        **settings.elsewhere,
    }
