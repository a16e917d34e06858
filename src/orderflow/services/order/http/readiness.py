"""What has to be there before an order is taken, asked for again and again until it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from orderflow.contracts.ids import Sku
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS
from orderflow.messaging.errors import ConfigurationError, Transient
from orderflow.messaging.postgres import ConnectionPool, DatabaseError, outbox, transient
from orderflow.messaging.process.roles import unreachable
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.telemetry import logger
from orderflow.services.order import repository
from orderflow.services.order.http.post_order import Ready
from orderflow.services.order.model import Product

TRY_EVERY_S = 0.2
SERVICE = "order"

log = logger("order.api")


class Preparation:
    """A thread that ends when everything is there. `reasons`: what is missing until then, and what is away after."""

    def __init__(
        self, *, pool: ConnectionPool, registry: RegistrySettings, on_ready: Callable[[Ready], None]
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._on_ready = on_ready
        self._missing = ["starting"]
        self._encoder: Encoder | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(1)

    def reasons(self) -> list[str]:
        if self._missing:
            return self._missing
        return unreachable(self._pool, "orders")

    def _run(self) -> None:
        while not self._stop.is_set():
            catalogue, no_database = self._ask_database()
            no_schemas = self._ask_registry()
            if catalogue is not None and self._encoder is not None:
                self._on_ready(Ready(encode=self._encoder.encode, catalogue=catalogue))
                self._missing = []
                log.info("ready to take orders", products=len(catalogue))
                return
            self._missing = [reason for reason in (no_database, no_schemas) if reason]
            self._stop.wait(TRY_EVERY_S)

    def _ask_database(self) -> tuple[Mapping[Sku, Product] | None, str]:
        try:
            with self._pool.connection(timeout=1) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT to_regclass('orders') IS NOT NULL AND to_regclass('product') IS NOT NULL"
                )
                if cursor.fetchone() != (True,):
                    return (
                        None,
                        "database: not migrated; run `python -m orderflow.services.order --roles migrate`",
                    )
                if not outbox.first_position_committed(cursor, SERVICE):
                    return (
                        None,
                        "relay: its first position is not committed yet; is order-relay running?",
                    )
                return repository.catalogue(cursor), ""
        except DatabaseError as error:
            return None, f"database: {transient(error) or error}"

    def _ask_registry(self) -> str:
        if self._encoder is None:
            try:
                self._encoder = load_encoder(self._registry)
            except (Transient, ConfigurationError) as error:
                return f"registry: {error}"
        return ""


def load_encoder(settings: RegistrySettings) -> Encoder:
    """For all that this service publishes. Raises Transient or ConfigurationError."""
    registry = Registry(settings)
    try:
        return Encoder.load(registry, CATALOGUE, (ORDERS.name, ORDER_EVENTS.name))
    finally:
        registry.close()
