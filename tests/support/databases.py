"""A database for a test, migrated for a service, and its contents as the catalogue lists them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.support.stack import Stack

import orderflow
from orderflow.messaging import postgres
from orderflow.messaging.settings import DatabaseSettings


def database_settings(url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"dsn": url})


@contextmanager
def empty_database(stack: Stack, prefix: str) -> Iterator[str]:
    """Create a database, yield its URL, and drop it at the end."""
    name = f"{prefix}_{uuid4().hex[:8]}"
    yield stack.create_database(name)

    administrator = database_settings(stack.postgres_url("postgres"))
    with postgres.connect(administrator, application_name="test", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def migrate_service(name: str, url: str) -> None:
    """
    What the role `migrate` of a service of ours does, without a process for it: that runs in the
    tests of the whole stack.
    """
    folder = Path(*orderflow.__path__, "services", name)
    assert folder.is_dir(), f"{name} is no service of ours"
    postgres.migrate(url, folder / "migrations")


def catalogue(url: str) -> set[tuple[object, ...]]:
    """Columns, constraints, indexes, tables, views, routines, triggers; equal for equal schemas."""
    with postgres.connect(database_settings(url), application_name="test") as connection:
        return set(connection.execute((_OURS + _CATALOGUE).encode()).fetchall())


_CATALOGUE = """
SELECT 'column', attrelid::regclass::text, attnum::text, attname,
       format_type(atttypid, atttypmod), attnotnull::text, pg_get_expr(adbin, adrelid)
FROM pg_attribute JOIN ours ON ours.oid = attrelid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname,
       pg_get_constraintdef(pg_constraint.oid), '', '', ''
FROM pg_constraint JOIN ours ON ours.oid = conrelid
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text,
       pg_get_indexdef(indexrelid), '', '', ''
FROM pg_index JOIN ours ON ours.oid = indrelid
UNION ALL
SELECT 'table', relname, relkind::text,
       pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid), relpersistence::text, ''
FROM ours
UNION ALL
SELECT 'view', relname, pg_get_viewdef(oid), obj_description(oid, 'pg_class'), '', '', ''
FROM ours WHERE relkind IN ('v', 'm')
UNION ALL
SELECT 'routine or trigger', routine.name, '', '', '', '', ''
FROM (SELECT proname AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace
      UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal) AS routine
"""
_OURS = """
WITH ours AS (SELECT * FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
                    AND relname NOT LIKE '%yoyo%')
"""
