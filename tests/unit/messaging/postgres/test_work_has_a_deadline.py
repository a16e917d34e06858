"""Group commit, without a database: what becomes of work whose deadline is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Queue
from typing import Any, cast

import pytest

from orderflow.messaging.errors import ConfigurationError, Contention, Transient, Unavailable
from orderflow.messaging.postgres import Connection, Cursor
from orderflow.messaging.postgres.group_commit import Expired, GroupCommit
from orderflow.messaging.testing.memory_clock import MemoryClock

CONNECT_S = 5.0


class Database:
    """A database that can be away for a while, on a clock of its own."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.away_until = self.clock.monotonic()
        self.connections = 0
        self.written: list[int] = []
        self.deliveries: Queue[list[tuple[object, int | Exception]]] = Queue()
        self.undone = 0
        self.locked: set[int] = set()
        self.waited_s: list[float] = []
        self.left: set[object] = set()
        self.committer = GroupCommit(
            connect=self._connect,
            write=self._write,
            deliver=self.deliveries.put,
            clock=self.clock,
            is_wanted=lambda token: token not in self.left,
            batch_max=10,
        )

    def submit(self, numbers: Sequence[int], *, within_s: float) -> None:
        for number in numbers:
            self.committer.submit(number, number, deadline=self.clock.monotonic() + within_s)

    def outcomes(self, count: int) -> dict[object, Any]:
        """Let the committer run until it has delivered so many."""
        self.committer.start()
        outcomes: dict[object, Any] = {}
        while len(outcomes) < count:
            outcomes.update(self.deliveries.get(timeout=20))
        self.committer.close()
        return outcomes

    def _connect(self) -> Connection:
        self.connections += 1
        self.clock.advance(CONNECT_S)
        if self.clock.monotonic() < self.away_until:
            raise Unavailable("nobody answers", resource="database")
        return cast("Connection", FakeConnection())

    def _write(self, cursor: Cursor, batch: list[int]) -> list[int]:
        if self.locked & {*batch}:
            self.waited_s.append(0.5 if cast("FakeCursor", cursor).executed else 3.0)
            self.clock.advance(self.waited_s[-1])
            raise Contention("somebody holds it", resource="database")
        if self.undone:
            self.undone -= 1
            self.clock.advance(1)
            raise Transient("undone", resource="database")
        self.written += batch
        return [number * 10 for number in batch]


class FakeCursor:
    def __init__(self) -> None:
        self.executed: list[str] = []

    def execute(self, query: str) -> None:
        self.executed.append(query)


class FakeConnection:
    closed = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    @contextmanager
    def cursor(self) -> Iterator[FakeCursor]:
        yield FakeCursor()

    def close(self) -> None:
        pass


@pytest.fixture
def database() -> Database:
    return Database()


def expired(outcomes: dict[object, Any]) -> set[object]:
    return {token for token, outcome in outcomes.items() if isinstance(outcome, Expired)}


def test_while_the_database_is_away_what_is_too_old_is_dropped_and_never_written(
    database: Database,
) -> None:
    """It would be an order for a client that left long ago, and has ordered anew."""
    database.away_until += 60
    database.submit(range(100), within_s=4.0)
    outcomes = database.outcomes(100)
    assert database.written == []
    assert {type(outcome) for outcome in outcomes.values()} == {Unavailable, Expired}
    assert expired(outcomes) == set(range(10, 100))
    assert database.connections == 1, "those that are dropped cost no time"


def test_work_that_expires_while_the_committer_connects_is_not_written(database: Database) -> None:
    database.submit([1], within_s=CONNECT_S - 1)
    database.submit([2], within_s=CONNECT_S + 1)
    outcomes = database.outcomes(2)
    assert (expired(outcomes), outcomes[2]) == ({1}, 20)
    assert database.written == [2]


def test_work_that_the_database_undid_is_not_tried_again_after_its_deadline(
    database: Database,
) -> None:
    database.undone = 1
    database.submit([1], within_s=CONNECT_S + 0.5)
    database.submit([2], within_s=CONNECT_S + 1.5)
    outcomes = database.outcomes(2)
    assert (expired(outcomes), outcomes[2]) == ({1}, 20)
    assert database.written == [2]


def test_a_lock_is_told_to_the_piece_that_meets_it_and_all_others_are_written_in_time(
    database: Database,
) -> None:
    database.locked = {3}
    database.submit(range(10), within_s=CONNECT_S + 6)
    outcomes = database.outcomes(10)
    assert isinstance(outcomes.pop(3), Contention)
    assert outcomes == {number: number * 10 for number in range(10) if number != 3}
    assert database.waited_s == [3.0, 0.5, 0.5, 0.5, 0.5], "only the first wait is long"


def test_work_for_somebody_who_has_left_is_not_written(database: Database) -> None:
    database.submit([1, 2, 3], within_s=60)
    database.left = {2}
    outcomes = database.outcomes(3)
    assert (expired(outcomes), outcomes[1], outcomes[3]) == ({2}, 10, 30)
    assert database.written == [1, 3]


def test_without_a_deadline_work_waits_for_as_long_as_it_takes(database: Database) -> None:
    database.committer.submit(1, 1)
    assert database.outcomes(1) == {1: 10}


def test_a_connection_that_is_refused_is_told_to_the_whole_batch_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No piece of it is at fault: halving would connect again for each half."""

    def refuse() -> Connection:
        database.connections += 1
        raise ConfigurationError("the password is wrong")

    monkeypatch.setattr(database.committer, "_connect", refuse)
    database.submit(range(8), within_s=60)
    outcomes = database.outcomes(8)
    assert {type(outcome) for outcome in outcomes.values()} == {ConfigurationError}
    assert database.connections == 1
