"""The order database: what a DBA reads is what the migrations make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.stack import Stack

import orderflow.services.order
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS
from orderflow.messaging import postgres
from orderflow.messaging.event import (
    ATTRIBUTE_BYTES_MAX,
    TRACEPARENT_BYTES_MAX,
    TRACESTATE_BYTES_MAX,
)
from orderflow.messaging.postgres import inbox, outbox

SERVICE = Path(orderflow.services.order.__file__).parent
MIGRATIONS = SERVICE / "migrations"
SCHEMA = (SERVICE / "schema.sql").read_text()
ATTRIBUTES = (
    "type",
    "ce_source",
    "ce_time",
    "ce_subject",
    "ce_causationid",
    "ce_correlationid",
)
OUTBOX = outbox.ddl([ORDERS.name, ORDER_EVENTS.name])


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "order_schema") as url:
        postgres.migrate(url, MIGRATIONS)
        yield url


def test_schema_sql_is_all_migrations_together(stack: Stack, migrated: str) -> None:
    with empty_database(stack, "order_schema") as url:
        with postgres.connect(database_settings(url), application_name="test") as connection:
            connection.execute(SCHEMA.encode())
        described = catalogue(url)
    assert {name for kind, name, *_ in described if kind == "table"} >= {
        "orders",
        "order_history",
        "outbox",
    }
    assert described == catalogue(migrated)


def test_the_outbox_is_the_kits_word_for_word() -> None:
    assert OUTBOX in SCHEMA
    migrations = [migration.read_text() for migration in MIGRATIONS.glob("*.sql")]
    for upgrade in (outbox.UPGRADE, outbox.BOUNDS, outbox.MEASURE, outbox.HOLD, outbox.BY_KEY):
        assert any(upgrade in text for text in migrations)


def test_the_inbox_is_the_kits_word_for_word() -> None:
    assert inbox.DDL in SCHEMA
    assert any(inbox.UPGRADE in migration.read_text() for migration in MIGRATIONS.glob("*.sql"))


def test_migrating_twice_applies_each_migration_once(migrated: str) -> None:
    assert postgres.pending(migrated, MIGRATIONS) == []
    assert postgres.migrate(migrated, MIGRATIONS) == []


def test_the_tables_refuse_what_the_service_would_never_write(migrated: str) -> None:
    with postgres.connect(
        database_settings(migrated), application_name="test", autocommit=True
    ) as connection:
        columns = (
            "id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject, "
            "ce_correlationid"
        )
        values = "gen_random_uuid(), %s, 'k', 't', %s, 's', 't', 's', 'c'"
        insert = f"INSERT INTO outbox ({columns}) VALUES ({values})"
        connection.execute(insert.encode(), ("orders", bytes(outbox.PAYLOAD_BYTES_MAX)))
        for topic, size in (("payments", 1), ("orders", outbox.PAYLOAD_BYTES_MAX + 1)):
            with pytest.raises(postgres.CheckViolation):
                connection.execute(insert.encode(), (topic, bytes(size)))


@pytest.mark.parametrize(
    ("column", "bytes_max"),
    [
        ("aggregateid", outbox.KEY_BYTES_MAX),
        *((column, ATTRIBUTE_BYTES_MAX) for column in ATTRIBUTES),
        ("traceparent", TRACEPARENT_BYTES_MAX),
        ("tracestate", TRACESTATE_BYTES_MAX),
    ],
)
def test_the_outbox_refuses_a_key_or_header_that_no_reader_would_take(
    migrated: str, column: str, bytes_max: int
) -> None:
    """In bytes, not in characters, and in the transaction of what the row announces."""
    row = dict.fromkeys(["aggregateid", "payload", *ATTRIBUTES, "traceparent", "tracestate"], "x")
    values = ", ".join(f"%({name})s" for name in row)
    insert = (
        f"INSERT INTO outbox (id, aggregatetype, {', '.join(row)})"
        f" VALUES (gen_random_uuid(), 'orders', {values})"
    )
    with postgres.connect(
        database_settings(migrated), application_name="test", autocommit=True
    ) as connection:
        connection.execute(insert.encode(), {**row, column: "é" * (bytes_max // 2)})
        with pytest.raises(postgres.CheckViolation):
            connection.execute(insert.encode(), {**row, column: "é" * (bytes_max // 2) + "x"})
