"""The settings of the books: `ORDERFLOW_BOOKS__…`, of the command and of `operations` alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import PREFIX, DatabaseSettings, ProcessSettings, Section


class BooksDatabases(Section):
    """Connection strings; a user who may SELECT from the services' `books_*` views is enough."""

    order: SecretStr | None = None
    payment: SecretStr | None = None
    inventory: SecretStr | None = None
    notification: SecretStr | None = None
    fulfilment: SecretStr | None = None
    analytics: SecretStr | None = None


class BooksSection(Section):
    """
    `ledger_url`: the provider, whose ledger is read. `state_dir`: where the store is, with all that
    was read of the topics. `warehouse`: a connection string of the database that a sink fills, with
    the view `books_payments`; `lake_url`: the lake exporter. Without one it is not compared.

    `slice`: how many old orders are compared again in each run, so that all of them have their turn
    after a while. `suspects_max`: how many accounts with differences are followed in one run.
    `within_s`: how long a run waits until what is in flight has arrived.
    """

    databases: BooksDatabases = BooksDatabases()
    ledger_url: str | None = None
    warehouse: SecretStr | None = None
    lake_url: str | None = None
    state_dir: Path = Path(".orderflow/state/books")
    slice: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    suspects_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    within_s: Annotated[float, Field(gt=0, le=3600)] = 90.0

    def database(self, service: str) -> DatabaseSettings:
        """Where the views of `service` are. Raises ConfigurationError, naming what is not set."""
        dsn: SecretStr | None = getattr(self.databases, service)
        if dsn is None:
            raise ConfigurationError(
                f"{PREFIX}BOOKS__DATABASES__{service.upper()} is not set: the books need to read "
                f"the views of {service}"
            )
        return DatabaseSettings(dsn=dsn)

    def ledger(self) -> str:
        """The provider's address. Raises ConfigurationError if it is not set."""
        if self.ledger_url is None:
            raise ConfigurationError(
                f"{PREFIX}BOOKS__LEDGER_URL is not set: the books need to read the provider's "
                "ledger"
            )
        return self.ledger_url


class BooksSettings(ProcessSettings):
    """The settings of whoever keeps the books."""

    books: BooksSection = BooksSection()
