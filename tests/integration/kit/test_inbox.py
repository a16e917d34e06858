"""The inbox on a real server: its table, and the purge of what can't come again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.postgres import Cursor, inbox
from orderflow.messaging.process.follower import INBOX

ROWS = 30_000
OLD = 12_000


class Explaining:
    """A cursor that asks for the plan of a statement instead of running it."""

    rowcount = 0

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.plan = ""

    def execute(self, statement: str, parameters: Any) -> None:
        self._cursor.execute(f"EXPLAIN {statement}".encode(), parameters)
        self.plan = "\n".join(line for (line,) in self._cursor)


@pytest.fixture
def url(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "inbox") as url:
        postgres.migrate(url, INBOX)
        yield url


def test_the_followers_migrations_make_the_kits_inbox(stack: Stack, url: str) -> None:
    with empty_database(stack, "inbox") as described:
        with postgres.connect(database_settings(described), application_name="test") as connection:
            connection.execute(inbox.DDL.encode())
        assert catalogue(url) == catalogue(described)


def test_a_purge_takes_the_old_rows_alone_in_batches_and_reads_no_row_that_stays(url: str) -> None:
    """Old and new rows lie in the same pages, as they do once purged pages are used again."""
    with postgres.connect(
        database_settings(url), application_name="test", autocommit=True
    ) as connection:
        connection.execute(
            "INSERT INTO inbox SELECT 'probe', gen_random_uuid(),"
            " now() - CASE WHEN n %% 5 < 2 THEN interval '36 days' ELSE interval '34 days' END"
            " FROM generate_series(1, %s) AS n",
            (ROWS,),
        )
        connection.execute("ANALYZE inbox")
        with connection.cursor() as cursor:
            explaining = Explaining(cursor)
            inbox.purge(cast("Cursor", explaining))
            assert "Index Scan using inbox_received_at" in explaining.plan
            assert "Seq Scan" not in explaining.plan, explaining.plan

            assert inbox.purge(cursor) == inbox.PURGE_ROWS_MAX
            assert inbox.purge(cursor) == OLD - inbox.PURGE_ROWS_MAX
            assert inbox.purge(cursor) == 0
            cursor.execute("SELECT count(*) FROM inbox")
            assert cursor.fetchone() == (ROWS - OLD,)
