"""`ORDERFLOW_CONNECT__…` and `ORDERFLOW_WAREHOUSE__…`: the worker, and the database behind it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SecretStr

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import PREFIX, DatabaseSettings, ProcessSettings, Section


class ConnectSection(Section):
    """
    `url`: the REST interface of a worker. `registry_url`: Apicurio's own API, which the converter
    speaks; empty: derived from the registry's address. `timeout_s`: how long one call may take.
    """

    url: str = "http://127.0.0.1:18083"
    registry_url: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 30.0


class WarehouseDatabase(Section):
    """`dsn`: a libpq connection string or URL. Its session's time zone must be UTC."""

    dsn: SecretStr | None = None


class WarehouseSection(Section):
    """The database that the sink fills."""

    database: WarehouseDatabase = WarehouseDatabase()

    def settings(self) -> DatabaseSettings:
        """Where the warehouse is. Raises ConfigurationError if that is not set."""
        if self.database.dsn is None:
            raise ConfigurationError(
                f"{PREFIX}WAREHOUSE__DATABASE__DSN is not set: it names the warehouse's database"
            )
        return DatabaseSettings(dsn=self.database.dsn)


class OutboxRelaySection(Section):
    """Who publishes the outbox, of the section of a service's relay; the rest is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    publisher: Literal["relay", "debezium"] = "relay"


class OutboxSection(Section):
    """What a source needs of the section of the service whose outbox it publishes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    database: DatabaseSettings | None = None
    relay: OutboxRelaySection = OutboxRelaySection()


class ConnectSettings(ProcessSettings):
    """The settings of whoever deploys connectors, or looks at them."""

    connect: ConnectSection = ConnectSection()
    warehouse: WarehouseSection = WarehouseSection()
    order: OutboxSection = OutboxSection()

    @property
    def apicurio_url(self) -> str:
        """The registry, by the API that the converter speaks."""
        if self.connect.registry_url:
            return self.connect.registry_url
        return self.registry.url.replace("/apis/ccompat/v7", "/apis/registry/v2")
