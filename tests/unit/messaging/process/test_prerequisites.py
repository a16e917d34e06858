"""What is missing at start is asked for until it is there, and named meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import pytest

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.process.prerequisites import Prerequisites


class Database:
    """Answers whether the first position is committed; `away` while it does not answer at all."""

    def __init__(self) -> None:
        self.away = False
        self.is_committed = False

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        if self.away:
            raise Unavailable("no server", resource="database")
        yield cast("Cursor", self)

    def execute(self, _query: str, _parameters: object) -> None:
        pass

    def fetchone(self) -> tuple[bool]:
        return (self.is_committed,)


def test_before_the_first_question_it_is_starting() -> None:
    assert Prerequisites(transaction=Database().transaction).reasons() == ["starting"]


def test_a_writer_waits_for_the_database_and_for_its_relay() -> None:
    database = Database()
    prerequisites = Prerequisites(transaction=database.transaction, relay="parcels")
    database.away = True
    assert prerequisites.missing() == ["database: no server"]
    database.away = False
    [reason] = prerequisites.missing()
    assert reason.startswith("relay: its first position is not committed yet")
    assert prerequisites.reasons() == [reason]
    database.is_committed = True
    assert prerequisites.missing() == prerequisites.reasons() == []


def test_who_publishes_nothing_waits_for_no_relay() -> None:
    assert Prerequisites(transaction=Database().transaction).missing() == []


def test_waiting_ends_with_a_stop() -> None:
    database = Database()
    prerequisites = Prerequisites(transaction=database.transaction, relay="parcels")
    stop = threading.Event()
    stop.set()
    assert not prerequisites.wait(stop)
    database.is_committed = True
    assert prerequisites.wait(threading.Event())


def test_nothing_is_encoded_before_the_schema_ids_are_there() -> None:
    prerequisites = Prerequisites(transaction=Database().transaction)
    with pytest.raises(ConfigurationError, match="schema ids"):
        prerequisites.encode("orders", msgspec.Struct())
