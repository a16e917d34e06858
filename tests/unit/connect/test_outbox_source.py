"""The connector's configuration: what it is derived from, and what it must never do."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from orderflow.connect.connectors import connectors
from orderflow.connect.outbox_source import ORDER_OUTBOX, PASSWORD, order_outbox
from orderflow.connect.settings import (
    ConnectSettings,
    OutboxRelaySection,
    OutboxSection,
    WarehouseDatabase,
    WarehouseSection,
)
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.relay.records import HEADER_OF_COLUMN
from orderflow.messaging.settings import DatabaseSettings

DATABASE = DatabaseSettings(dsn=SecretStr("postgresql://cdc:secret@db.example:6000/order"))
WAREHOUSE = WarehouseSection(
    database=WarehouseDatabase(dsn=SecretStr("postgresql://u@db.example/warehouse"))
)


def test_it_reads_the_relays_slot_by_the_relays_publication() -> None:
    """PostgreSQL gives a slot to one reader: relay and connector can't both publish."""
    config = order_outbox(DATABASE)
    assert config["slot.name"] == config["publication.name"] == "relay_order"
    assert config["publication.autocreate.mode"] == "disabled"
    assert config["exactly.once.support"] == "required"


def test_every_column_that_the_relay_makes_a_header_is_placed_as_one() -> None:
    placed = order_outbox(DATABASE)["transforms.router.table.fields.additional.placement"]
    wanted = {f"{column}:header:{header}" for column, header in HEADER_OF_COLUMN}
    assert set(placed.split(",")) == {"id:header:ce_id", *wanted}


def test_it_makes_no_topic_and_holds_no_password() -> None:
    config = order_outbox(DATABASE)
    assert not any(key.startswith("topic.creation") for key in config)
    assert config["message.prefix.exclude.list"] == ".*"
    assert config["database.password"] == PASSWORD
    assert "secret" not in str(config)


def test_a_dsn_without_a_host_is_refused_with_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match="names no host"):
        order_outbox(DatabaseSettings(dsn=SecretStr("dbname=order")))


def test_it_runs_only_where_debezium_is_the_publisher() -> None:
    settings = ConnectSettings(warehouse=WAREHOUSE)
    assert ORDER_OUTBOX not in {connector.name for connector in connectors(settings)}

    debezium = OutboxRelaySection(publisher="debezium")
    order = OutboxSection(database=DATABASE, relay=debezium)
    settings = settings.model_copy(update={"order": order})
    assert ORDER_OUTBOX in {connector.name for connector in connectors(settings)}

    settings = settings.model_copy(update={"order": OutboxSection(relay=debezium)})
    with pytest.raises(ConfigurationError, match="ORDERFLOW_ORDER__DATABASE__DSN"):
        connectors(settings)
