"""The inbox on a real server: its table, and the purge of what can't come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.kafka.admin import Admin, bring_about
from orderflow.messaging.kafka.record_life import MARGIN, RecordLife
from orderflow.messaging.kafka.topics import SEGMENT, Difference, Topic, TopicSettings
from orderflow.messaging.postgres import Cursor, inbox
from orderflow.messaging.process.follower import INBOX
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.work.turning import Turning

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


@pytest.fixture(autouse=True)
def rounds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "PURGE_EVERY_S", 0.1)


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


def test_a_row_is_kept_for_as_long_as_the_cluster_keeps_records(stack: Stack, url: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    admin, name = Admin(kafka), f"kept-{uuid4().hex[:8]}"
    topic = Topic(name=name, key="none", retention=timedelta(days=7))
    bring_about([topic], admin, TopicSettings())
    life = RecordLife(kafka, [name, f"{name}.not-there"])
    assert life.ask() == timedelta(days=7) + SEGMENT + MARGIN

    def set_retention(retention: timedelta) -> None:
        wanted = str(retention // timedelta(milliseconds=1))
        change = Difference(
            topic=name, setting="retention.ms", wanted=wanted, present="", remedy=""
        )
        admin.alter([change])

    session = postgres.Session(database_settings(url), application_name="test")
    with session.transaction() as cursor:
        for days in (36, 99, 101):
            cursor.execute(_OLD_ROW, (days,))
    set_retention(timedelta(days=100) - SEGMENT - MARGIN)
    assert purged_with(life, session) == [36, 99]
    with session.transaction() as cursor:
        cursor.execute(_OLD_ROW, (101,))
    set_retention(timedelta(milliseconds=-1))
    assert purged_with(life, session) == [36, 99, 101]
    set_retention(timedelta(days=7))
    assert purged_with(life, session) == []
    session.close()


def purged_with(life: RecordLife, session: postgres.Session) -> list[int]:
    """The days of the rows that are left after one round."""
    stop = threading.Event()

    def ask() -> timedelta | None:
        asked = life.ask()
        threading.Timer(0.5, stop.set).start()
        return asked

    inbox.purge_until(stop, session, Turning("test"), ask)
    with session.transaction() as cursor:
        cursor.execute("SELECT extract(day FROM now() - received_at)::int FROM inbox ORDER BY 1")
        return [days for (days,) in cursor]


_OLD_ROW = """
INSERT INTO inbox SELECT 'probe', gen_random_uuid(), now() - make_interval(days => %s)
"""


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
