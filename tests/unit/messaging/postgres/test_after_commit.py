"""What is to be counted after a commit is counted once, and not at all without the commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.postgres import Session, after_commit
from orderflow.messaging.postgres import connection as module
from orderflow.messaging.settings import DatabaseSettings


class Database:
    """A connection that notes what happens on it; `lost` loses the answer to a COMMIT."""

    closed = broken = False

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.lost = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.seen.append("rollback")
            raise
        if self.lost:
            raise psycopg.OperationalError
        self.seen.append("commit")

    @contextmanager
    def cursor(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database()
    monkeypatch.setattr(module, "connect", lambda *_, **__: database)
    return database


@pytest.fixture
def session(database: Database) -> Session:
    settings: Any = DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"})
    return Session(settings, application_name="test")


def test_what_is_counted_is_counted_after_the_commit_and_once(
    database: Database, session: Session
) -> None:
    with session.transaction():
        after_commit(lambda: database.seen.append("counted"))
    with session.transaction():
        pass
    assert database.seen == ["commit", "counted", "commit"]


def test_nothing_is_counted_of_a_transaction_that_is_rolled_back_and_its_repeat_is_counted_once(
    database: Database, session: Session
) -> None:
    def fail() -> None:
        with session.transaction():
            after_commit(lambda: database.seen.append("counted"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with session.transaction():
        after_commit(lambda: database.seen.append("counted"))
    assert database.seen == ["rollback", "commit", "counted"]


def test_nothing_is_counted_while_the_outcome_is_unknown(
    database: Database, session: Session
) -> None:
    database.lost = True
    with pytest.raises(Unavailable), session.transaction():
        after_commit(lambda: database.seen.append("counted"))
    assert database.seen == []


def test_outside_of_a_transaction_it_is_counted_at_once(database: Database) -> None:
    after_commit(lambda: database.seen.append("counted"))
    assert database.seen == ["counted"]
