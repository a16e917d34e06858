"""What is missing at start is asked for until it is there, and named meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import pytest
from tests.unit.messaging.schemas.parcels import CATALOGUE

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.process import prerequisites as module
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.settings import RegistrySettings


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
    assert prerequisites.missing() == ["database: away"]
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


def test_however_often_it_is_tried_there_is_one_connection_to_the_registry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[AwayRegistry] = []

    class AwayRegistry:
        def __init__(self, _settings: RegistrySettings) -> None:
            made.append(self)
            self.is_closed = False

        def id_of(self, _subject: str, _text: str) -> int:
            raise Unavailable("403 in HTML", resource="registry")

        def close(self) -> None:
            self.is_closed = True

    monkeypatch.setattr(module, "Registry", AwayRegistry)
    prerequisites = Prerequisites(
        transaction=Database().transaction,
        registry=RegistrySettings(),
        catalogue=CATALOGUE,
        topics=("parcels",),
    )
    for _ in range(5):
        assert prerequisites.missing() == ["registry: away"]
    prerequisites.close()
    assert [registry.is_closed for registry in made] == [True]


def test_nothing_is_encoded_before_the_schema_ids_are_there() -> None:
    prerequisites = Prerequisites(transaction=Database().transaction)
    with pytest.raises(ConfigurationError, match="schema ids"):
        prerequisites.encode("orders", msgspec.Struct())
