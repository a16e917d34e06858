"""A warehouse that Connect fills, on a test's stack: its sink, and what is in its table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.databases import database_settings
from tests.support.payments_ledger import Row
from tests.support.stack import OwnStack

from orderflow.connect import deploy
from orderflow.connect.connectors import payments_warehouse
from orderflow.connect.rest import ConnectClient
from orderflow.connect.settings import (
    ConnectSection,
    ConnectSettings,
    WarehouseDatabase,
    WarehouseSection,
)
from orderflow.contracts.roster import PAYMENTS_WAREHOUSE, subscribed
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.local_stack import StackFailed

SINK = PAYMENTS_WAREHOUSE.group


@dataclass(frozen=True)
class Warehouse:
    """The sink's worker by `client`, its database by `query`."""

    stack: OwnStack
    settings: ConnectSettings
    client: ConnectClient

    def deploy(self) -> None:
        """The table and the connector; both run afterwards."""
        deploy.apply(self.settings, self.client)

    def kill_worker(self) -> None:
        """SIGKILL, and a new one in its place, which is ready."""
        self.stack.kill("connect")
        eventually(self._is_started, within_s=120, why="the registry is ready, and so a worker")

    def _is_started(self) -> bool:
        """A supervisor tries again: while the database comes back the registry is not ready."""
        try:
            self.stack.start("connect")
        except StackFailed:
            return False
        return True

    def kill_database(self) -> None:
        """SIGKILL to the server, and the same data again."""
        self.stack.kill("postgres")
        self.stack.start("postgres")

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with self._connection("warehouse") as connection:
            return connection.execute(statement.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with self._connection("warehouse") as connection:
            connection.execute(statement.encode())

    def _connection(self, database: str) -> postgres.Connection:
        settings = database_settings(self.stack.postgres_url(database))
        return postgres.connect(settings, application_name="test", autocommit=True)

    def set_read_only(self, read_only: bool) -> None:
        """For every session from now on; the sink's end."""
        with self._connection("postgres") as server:
            server.execute(
                f"ALTER DATABASE warehouse SET default_transaction_read_only = {read_only}".encode()
            )
            server.execute(
                b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                b"WHERE datname = 'warehouse'"
            )

    def count(self) -> int:
        [(rows,)] = self.query("SELECT count(*) FROM payments")
        assert isinstance(rows, int)
        return rows

    def rows(self) -> list[Row]:
        return self.query(  # type: ignore[return-value]
            "SELECT payment_id, order_id, status, amount_minor FROM payments ORDER BY payment_id"
        )

    def lag(self) -> int:
        """Records that the sink has not passed."""
        groups = {SINK: subscribed(SINK)}
        kafka = KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)
        return sum(lag.records for lag in lags(kafka, groups, stop_before_markers=[SINK]))

    def eventually_caught_up(self, *, within_s: float = 90) -> None:
        """Until nothing is left to read; a task that has failed is restarted, as in production."""

        def caught_up() -> bool:
            try:
                if self.client.state(SINK).has_failed:
                    self.client.restart(SINK, only_failed=True)
                return self.lag() == 0
            except Transient:
                return False

        eventually(caught_up, within_s=within_s, every_s=0.5, why="the sink has read all")


@contextmanager
def warehouse_on(stack: OwnStack) -> Iterator[Warehouse]:
    """The warehouse of a stack with Connect; topics and schemas must be there."""
    url = stack.more_environment["ORDERFLOW_CONNECT__URL"]
    dsn = stack.more_environment["ORDERFLOW_WAREHOUSE__DATABASE__DSN"]
    settings = ConnectSettings(
        kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
        registry=RegistrySettings(url=stack.registry_url),
        connect=ConnectSection(url=url),
        warehouse=WarehouseSection(database=WarehouseDatabase.model_validate({"dsn": dsn})),
    )
    with ConnectClient(url) as client:
        yield Warehouse(stack=stack, settings=settings, client=client)


def config_of(warehouse: Warehouse) -> dict[str, str]:
    """The sink's configuration, to be changed and refused."""
    return dict(payments_warehouse(warehouse.settings).config)
