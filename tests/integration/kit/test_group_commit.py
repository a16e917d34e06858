"""Group commit, on real PostgreSQL: who is answered what, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from uuid import uuid4

import pytest
from tests.support.databases import database_settings
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.errors import Contention, Unavailable
from orderflow.messaging.postgres import CheckViolation, Connection, Cursor
from orderflow.messaging.postgres.group_commit import Expired, GroupCommit, QueueFull
from orderflow.messaging.testing.eventually import eventually

Done = list[tuple[object, int | Exception]]
UNLUCKY = 13


class Bench:
    """A committer that inserts numbers, and all that can be watched of it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.batches: list[list[int]] = []
        self.before_write: Callable[[Cursor], None] = lambda _cursor: None
        self.after_write: Callable[[Cursor], None] = lambda _cursor: None
        self.deliveries: Queue[Done] = Queue()
        self.visible_at_delivery: list[set[int]] = []
        self.connections = 0

    def committer(self, *, batch_max: int = 500, queue_max: int = 10_000) -> GroupCommit[int, int]:
        return GroupCommit(
            connect=self._connect,
            write=self._write,
            deliver=self._deliver,
            batch_max=batch_max,
            queue_max=queue_max,
        )

    def connect(self) -> Connection:
        return postgres.connect(
            database_settings(self._url), application_name="group-commit-test", autocommit=True
        )

    def numbers(self) -> set[int]:
        with self.connect() as connection:
            return {number for (number,) in connection.execute("SELECT n FROM numbers")}

    def outcomes(self, count: int) -> dict[object, int | Exception]:
        rows: dict[object, int | Exception] = {}
        while len(rows) < count:
            rows.update(dict(self.deliveries.get(timeout=30)))
        return rows

    def _connect(self) -> Connection:
        self.connections += 1
        return self.connect()

    def _write(self, cursor: Cursor, batch: list[int]) -> list[int]:
        self.batches.append(batch)
        with cursor.connection.transaction():
            self.before_write(cursor)
            cursor.execute("INSERT INTO numbers SELECT unnest(%s::int[])", (batch,))
            self.after_write(cursor)
        return [number * 10 for number in batch]

    def _deliver(self, done: Done) -> None:
        self.visible_at_delivery.append(self.numbers())
        self.deliveries.put(done)


@pytest.fixture
def bench(stack: Stack) -> Iterator[Bench]:
    name = f"group_commit_{uuid4().hex[:8]}"
    url = stack.create_database(name)
    with postgres.connect(database_settings(url), application_name="test") as connection:
        connection.execute(
            f"CREATE TABLE numbers (n int PRIMARY KEY CHECK (n <> {UNLUCKY}))".encode()
        )
    yield Bench(url)
    administrator = database_settings(stack.postgres_url("postgres"))
    with postgres.connect(administrator, application_name="test", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def run(bench: Bench) -> Iterator[Callable[..., GroupCommit[int, int]]]:
    started: list[GroupCommit[int, int]] = []

    def start(**limits: int) -> GroupCommit[int, int]:
        committer = bench.committer(**limits)
        started.append(committer)
        committer.start()
        return committer

    yield start
    for committer in started:
        committer.close()


Run = Callable[..., GroupCommit[int, int]]


def test_every_piece_gets_its_own_answer_and_only_after_its_commit(bench: Bench, run: Run) -> None:
    committer = run()
    for number in range(100, 140):
        committer.submit(number, f"token {number}")
    assert bench.outcomes(40) == {f"token {number}": number * 10 for number in range(100, 140)}
    written = 0
    for visible, batch in zip(bench.visible_at_delivery, bench.batches, strict=True):
        written += len(batch)
        assert len(visible) >= written, "delivered before it was committed"


def test_what_waits_meanwhile_is_one_transaction_and_never_more_than_the_batch(
    bench: Bench, run: Run
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(_cursor: Cursor) -> None:
        entered.set()
        assert go_on.wait(20)

    bench.before_write = hold
    committer = run(batch_max=20)
    committer.submit(0, 0)
    assert entered.wait(20)
    for number in range(100, 150):
        committer.submit(number, number)
    go_on.set()
    assert len(bench.outcomes(51)) == 51
    assert [len(batch) for batch in bench.batches] == [1, 20, 20, 10]
    assert bench.connections == 1


def test_beyond_the_queues_bound_work_is_refused_at_once_and_nothing_of_it_happens(
    bench: Bench, run: Run
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(_cursor: Cursor) -> None:
        entered.set()
        assert go_on.wait(20)

    bench.before_write = hold
    committer = run(queue_max=5)
    committer.submit(0, 0)
    assert entered.wait(20)
    for number in range(100, 105):
        committer.submit(number, number)
    with pytest.raises(QueueFull):
        committer.submit(105, 105)
    go_on.set()
    assert set(bench.outcomes(6)) == {0, *range(100, 105)} == bench.numbers()


@pytest.mark.parametrize(
    "unlucky", [[UNLUCKY], [UNLUCKY, 3], list(range(20))], ids=["alone", "in a pair", "in twenty"]
)
def test_a_bad_piece_fails_alone(bench: Bench, run: Run, unlucky: list[int]) -> None:
    committer = bench.committer()
    for number in unlucky:
        committer.submit(number, number)
    committer.start()
    outcomes = bench.outcomes(len(unlucky))
    committer.close()
    assert isinstance(outcomes.pop(UNLUCKY), CheckViolation)
    assert outcomes == {number: number * 10 for number in unlucky if number != UNLUCKY}
    assert bench.numbers() == set(unlucky) - {UNLUCKY}


def test_a_lost_connection_is_told_to_the_whole_batch_and_the_next_has_a_new_one(
    bench: Bench, run: Run
) -> None:
    def die(cursor: Cursor) -> None:
        bench.after_write = lambda _cursor: None
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    bench.after_write = die
    committer = bench.committer()
    for number in (100, 101):
        committer.submit(number, number)
    committer.start()
    assert {type(outcome) for outcome in bench.outcomes(2).values()} == {Unavailable}
    assert bench.numbers() == set()
    committer.submit(102, 102)
    assert bench.outcomes(1) == {102: 1020}
    assert bench.connections == 2
    committer.close()


def test_work_that_the_database_undid_is_tried_again(bench: Bench, run: Run) -> None:
    tries = 0

    def undo_twice(cursor: Cursor) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")

    bench.after_write = undo_twice
    run().submit(100, 100)
    assert bench.outcomes(1) == {100: 1000}
    assert tries == 3


def test_a_lock_that_does_not_come_free_is_told_within_seconds(bench: Bench, run: Run) -> None:
    committer = run()
    with bench.connect() as locking, locking.transaction():
        locking.execute("LOCK TABLE numbers IN EXCLUSIVE MODE")
        committer.submit(100, 100)
        token, outcome = bench_outcome(bench)
    assert (token, type(outcome)) == (100, Contention)
    assert len(bench.batches) == 1, "waiting once more would keep everybody waiting"


def test_work_that_waited_too_long_is_not_written_though_the_database_is_there_again(
    bench: Bench, run: Run
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold(_cursor: Cursor) -> None:
        entered.set()
        assert go_on.wait(20)

    bench.before_write = hold
    committer = run()
    committer.submit(100, 100)
    assert entered.wait(20)
    deadline = time.monotonic() + 0.05
    committer.submit(101, 101, deadline=deadline)
    committer.submit(102, 102, deadline=deadline + 60)
    eventually(lambda: time.monotonic() > deadline, within_s=20)
    go_on.set()

    outcomes = bench.outcomes(3)
    assert isinstance(outcomes.pop(101), Expired)
    assert outcomes == {100: 1000, 102: 1020}
    assert bench.numbers() == {100, 102}


def bench_outcome(bench: Bench) -> tuple[object, int | Exception]:
    ((token, outcome),) = bench.outcomes(1).items()
    return token, outcome


def test_closing_finishes_what_waits_and_takes_no_more(bench: Bench) -> None:
    committer = bench.committer(batch_max=3)
    for number in range(100, 110):
        committer.submit(number, number)
    committer.start()
    committer.close()
    assert bench.numbers() == set(range(100, 110))
    with pytest.raises(QueueFull):
        committer.submit(110, 110)
