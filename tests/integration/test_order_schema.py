"""The order database: what a DBA reads is what the migrations make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.order_service import database_settings
from tests.support.stack import Stack

import orderflow.services.order
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS
from orderflow.messaging import outbox, postgres

SERVICE = Path(orderflow.services.order.__file__).parent
MIGRATIONS = SERVICE / "migrations"
SCHEMA = (SERVICE / "schema.sql").read_text()
OUTBOX = outbox.ddl([ORDERS.name, ORDER_EVENTS.name])

CATALOGUE = """
SELECT 'column', attrelid::regclass::text, attnum::text, attname, format_type(atttypid, atttypmod), attnotnull::text,
       pg_get_expr(adbin, adrelid)
FROM pg_attribute JOIN ours ON ours.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(pg_constraint.oid), '', '', ''
FROM pg_constraint JOIN ours ON ours.oid = conrelid
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid), '', '', ''
FROM pg_index JOIN ours ON ours.oid = indrelid
UNION ALL
SELECT 'table', relname, relkind::text, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid), relpersistence::text, ''
FROM ours
UNION ALL
SELECT 'routine or trigger', found.name, '', '', '', '', ''
FROM (SELECT proname AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace
      UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal) AS found
"""
OURS = """
WITH ours AS (SELECT * FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
                    AND relname NOT LIKE '%yoyo%')
"""


@contextmanager
def database(stack: Stack) -> Iterator[str]:
    name = f"order_schema_{uuid4().hex[:8]}"
    yield stack.create_database(name)
    administrator = database_settings(stack.postgres_url("postgres"))
    with postgres.connect(administrator, application_name="test", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def migrated(stack: Stack) -> Iterator[str]:
    with database(stack) as url:
        postgres.migrate(url, MIGRATIONS)
        yield url


def catalogue(url: str) -> set[tuple[object, ...]]:
    with postgres.connect(database_settings(url), application_name="test") as connection:
        return set(connection.execute((OURS + CATALOGUE).encode()).fetchall())


def test_schema_sql_is_all_migrations_together(stack: Stack, migrated: str) -> None:
    with database(stack) as url:
        with postgres.connect(database_settings(url), application_name="test") as connection:
            connection.execute(SCHEMA.encode())
        described = catalogue(url)
    assert {name for kind, name, *_ in described if kind == "table"} >= {"orders", "order_history", "outbox"}
    assert described == catalogue(migrated)


def test_the_outbox_is_the_kits_word_for_word() -> None:
    assert OUTBOX in SCHEMA
    assert any(outbox.UPGRADE in migration.read_text() for migration in MIGRATIONS.glob("*.sql"))


def test_migrating_twice_applies_each_migration_once(migrated: str) -> None:
    assert postgres.pending(migrated, MIGRATIONS) == []
    assert postgres.migrate(migrated, MIGRATIONS) == []


def test_the_tables_refuse_what_the_service_would_never_write(migrated: str) -> None:
    with postgres.connect(database_settings(migrated), application_name="test", autocommit=True) as connection:
        columns = "id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject, ce_correlationid"
        insert = f"INSERT INTO outbox ({columns}) VALUES (gen_random_uuid(), %s, 'k', 't', %s, 's', 't', 's', 'c')"
        connection.execute(insert.encode(), ("orders", bytes(outbox.PAYLOAD_BYTES_MAX)))
        for topic, size in (("payments", 1), ("orders", outbox.PAYLOAD_BYTES_MAX + 1)):
            with pytest.raises(postgres.CheckViolation):
                connection.execute(insert.encode(), (topic, bytes(size)))
