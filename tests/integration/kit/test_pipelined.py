"""A transaction whose statements do not wait for their answers is one all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.databases import database_settings, empty_database
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.errors import Contention, Unavailable
from orderflow.messaging.postgres import Session

INSERT = "INSERT INTO shelf SELECT unnest(%s::int[])"


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "pipelined") as url:
        session = Session(database_settings(url), application_name="test")
        with session.transaction() as cursor:
            cursor.execute("CREATE TABLE shelf (number int PRIMARY KEY)")
        session.close()
        yield url


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    session = Session(database_settings(url), application_name="test")
    with session.transaction() as cursor:
        cursor.execute("TRUNCATE shelf")
    yield session
    session.close()


def shelf(session: Session) -> list[int]:
    with session.transaction() as cursor:
        return [row[0] for row in cursor.execute("SELECT number FROM shelf ORDER BY 1")]


def test_all_of_it_is_committed_when_the_block_ends(session: Session) -> None:
    with session.pipelined() as cursor:
        cursor.execute(INSERT, ("{1,2}",))
        cursor.execute(INSERT, ("{3}",))
    assert shelf(session) == [1, 2, 3]


def test_each_statement_has_its_own_answer_whatever_was_sent_before(session: Session) -> None:
    for _ in range(20):  # The driver prepares a statement when it comes again and again.
        with session.pipelined() as cursor:
            cursor.execute("TRUNCATE shelf")
            cursor.execute(INSERT, ("{1,2,3}",))
            assert cursor.execute("SELECT 7").fetchone() == (7,)
            cursor.execute("UPDATE shelf SET number = number + 10")
            assert cursor.rowcount == 3
            cursor.execute("DELETE FROM shelf WHERE number = 11 RETURNING number")
            assert list(cursor) == [(11,)]
            cursor.execute("SELECT number FROM shelf ORDER BY 1")
            assert cursor.fetchall() == [(12,), (13,)]
            assert cursor.rowcount == 2
    assert shelf(session) == [12, 13]


@pytest.mark.parametrize("reads", [False, True])
def test_an_error_in_the_block_undoes_all_of_it(session: Session, *, reads: bool) -> None:
    def fail() -> None:
        with session.pipelined() as cursor:
            cursor.execute(INSERT, ("{1}",))
            raise ValueError("mine" if not reads or cursor.rowcount == 1 else "")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert shelf(session) == []


@pytest.mark.parametrize("reads", [False, True])
def test_a_statement_that_fails_undoes_all_of_it_and_is_told(
    session: Session, *, reads: bool
) -> None:
    def insert_twice() -> None:
        with session.pipelined() as cursor:
            for literal in ("{1}", "{1}", "{2}"):
                cursor.execute(INSERT, (literal,))
            if reads:
                cursor.execute("SELECT 1").fetchall()

    for _ in range(2):
        with pytest.raises(postgres.UniqueViolation):
            insert_twice()
        assert shelf(session) == []


def test_an_error_that_the_block_swallows_commits_nothing(session: Session) -> None:
    def swallow() -> None:
        with session.pipelined() as cursor:
            cursor.execute(INSERT, ("{1,1}",))
            with pytest.raises(postgres.UniqueViolation):
                assert cursor.rowcount

    with pytest.raises(postgres.DatabaseError):
        swallow()
    assert shelf(session) == []


def test_an_error_of_the_commit_itself_is_told(session: Session) -> None:
    with session.transaction() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS late (number int)")
        cursor.execute(
            "ALTER TABLE late ADD CONSTRAINT once UNIQUE (number) DEFERRABLE INITIALLY DEFERRED"
        )
    with pytest.raises(postgres.UniqueViolation), session.pipelined() as cursor:
        cursor.execute("INSERT INTO late VALUES (1), (1)")
    with session.transaction() as cursor:
        assert cursor.execute("SELECT count(*) FROM late").fetchone() == (0,)


def test_a_lock_is_contention_and_the_session_goes_on(session: Session, url: str) -> None:
    other = Session(database_settings(url), application_name="test")
    with other.transaction() as theirs:
        theirs.execute("LOCK shelf")
        with (
            postgres.waiting_briefly(),
            pytest.raises(Contention),
            session.pipelined() as cursor,
        ):
            cursor.execute(INSERT, ("{1}",))
    other.close()
    assert shelf(session) == []


def test_a_connection_that_is_gone_is_opened_again(session: Session) -> None:
    def end_it() -> None:
        with session.pipelined() as cursor:
            cursor.execute(INSERT, ("{1}",))
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            cursor.execute("SELECT 1").fetchall()

    with pytest.raises(Unavailable):
        end_it()
    with session.pipelined() as cursor:
        cursor.execute(INSERT, ("{2}",))
    assert shelf(session) == [2]
