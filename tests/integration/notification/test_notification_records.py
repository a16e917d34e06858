"""
What is noted and settled, in the database alone: positions in the order of commits, numbers
without a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import msgspec
import pytest
from tests.support.builders import CREATED, PAID, an_order_on_request, life, received
from tests.support.databases import database_settings, empty_database
from tests.support.inbox_worker import Worker, handle_concurrently
from tests.support.stack import Stack

import orderflow.services.notification
from orderflow.contracts.ids import CustomerId
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.listener import Received
from orderflow.messaging.postgres.outbox import KEY_BYTES_MAX
from orderflow.services.notification import repository
from orderflow.services.notification.handlers import add_notifications, settle
from orderflow.services.notification.listeners import LISTENER
from orderflow.services.notification.model import (
    Letter,
    Outcome,
    SendResult,
    Standing,
    number,
)

AT = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
MIGRATIONS = Path(orderflow.services.notification.__file__).parent / "migrations"
SENDERS = 4


@pytest.fixture
def url(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "notification_records") as url:
        postgres.migrate(url, MIGRATIONS)
        yield url


def ordered(customer: str) -> Received:
    return received(an_order_on_request(customer=customer))


def session(url: str, **settings: str) -> postgres.Session:
    return postgres.Session(database_settings(url), application_name="test", session=settings)


def lease(session: postgres.Session, worker: str = "w") -> list[tuple[CustomerId, list[Letter]]]:
    with session.transaction() as cursor:
        return repository.lease(cursor, worker, customers_max=100, letters_max=100, lease_s=30)


def test_who_notes_something_for_a_customer_holds_back_the_next_one_until_the_commit(
    url: str,
) -> None:
    first, second = session(url), session(url, lock_timeout="100ms")
    with first.transaction() as cursor:
        add_notifications(cursor, [ordered("anna")])
    with first.transaction() as cursor:
        add_notifications(cursor, [ordered("anna")])
        with pytest.raises(Transient), second.transaction() as late:
            add_notifications(late, [ordered("anna")])
        with second.transaction() as other:
            add_notifications(other, [ordered("bert")])
    for worker in (first, second):
        worker.close()


def test_what_no_event_could_be_told_of_is_refused_when_it_is_noted(url: str) -> None:
    """Then one record is at fault. The sender, who adds the event later, would stop for all."""
    worker = session(url)
    with worker.transaction() as cursor:
        add_notifications(cursor, [ordered("é" * (KEY_BYTES_MAX // 2))])
    with pytest.raises(postgres.CheckViolation), worker.transaction() as cursor:
        add_notifications(cursor, [ordered("é" * (KEY_BYTES_MAX // 2) + "x")])
    worker.close()


def test_a_batch_takes_as_many_statements_as_one_record(
    url: str,
) -> None:
    """A batch without a mail takes none."""
    worker = Worker(url, LISTENER)
    assert worker.statements([ordered("anna")]) == 3
    assert worker.statements([ordered(f"customer-{number}") for number in range(500)]) == 3
    assert worker.statements([received(event) for event in life([CREATED, PAID])]) == 0
    worker.session.close()


def test_workers_who_hear_of_the_same_customers_at_once_note_everything_once(url: str) -> None:
    customers = [f"customer-{number}" for number in range(20)]
    records = [ordered(customer) for customer in customers * 10]
    chance = Random(1)
    shares = [chance.sample(records, len(records)) for _ in range(4)]
    events, _ = handle_concurrently(url, LISTENER, shares, batch=25)
    assert events == [], "the listener itself says nothing"
    reader = session(url)
    assert sum(len(letters) for _, letters in lease(reader)) == len(records)
    with reader.transaction() as cursor:
        cursor.execute("DELETE FROM inbox")
    reader.close()
    worker = Worker(url, LISTENER)
    before = worker.rows("delivery")
    worker.handle(*records[:50])
    assert worker.rows("delivery") == before, "the second wall: its natural key"
    worker.session.close()


def test_a_leased_customer_is_nobody_elses_until_it_is_given_back(url: str) -> None:
    first, other = session(url), session(url)
    with first.transaction() as cursor:
        add_notifications(cursor, [ordered("anna")])
    [(customer, letters)] = lease(first, "w1")
    assert (customer, len(letters)) == ("anna", 1)
    assert lease(other, "w2") == []
    with first.transaction() as cursor:
        add_notifications(cursor, [ordered("anna")])
    assert lease(other, "w2") == [], "what is noted meanwhile waits for the lease's end"
    with (
        other.transaction() as cursor
    ):  # One who never had the lease, or has lost it, does not end it.
        settle(
            cursor,
            [SendResult(customer_id=customer)],
            worker="w2",
            back_off_s_max=60,
            encode=_encoded,
        )
    assert lease(other, "w2") == []
    with first.transaction() as cursor:
        settle(cursor, [_result(letters)], worker="w1", back_off_s_max=60, encode=_encoded)
    [(_, rest)] = lease(other, "w2")
    assert len(rest) == 1
    with other.transaction() as cursor:
        settle(cursor, [_result(rest)], worker="w2", back_off_s_max=60, encode=_encoded)
        cursor.execute("SELECT sequence, due_at, leased_by FROM customer")
        assert cursor.fetchall() == [(2, None, None)]
    for session_ in (first, other):
        session_.close()


def test_senders_who_settle_the_same_messages_at_once_give_each_one_number(url: str) -> None:
    begin = session(url)
    for _ in range(5):
        with begin.transaction() as cursor:
            add_notifications(cursor, [ordered(f"customer-{number}") for number in range(30)])
    claimed = dict(lease(begin))

    def work(seed: int) -> None:
        chance, mine = Random(seed), session(url)
        for customer in chance.sample(sorted(claimed), len(claimed)):
            others = chance.sample(sorted(claimed), 3)
            results = [
                _result(claimed[name][: chance.randint(1, 5)]) for name in {customer, *others}
            ]
            with mine.transaction() as cursor:
                settle(cursor, results, worker=f"w{seed}", back_off_s_max=60, encode=_encoded)
        with mine.transaction() as cursor:
            settle(
                cursor,
                [_result(letters) for letters in claimed.values()],
                worker="w",
                back_off_s_max=60,
                encode=_encoded,
            )
        mine.close()

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(work, range(SENDERS)))
    with begin.transaction() as cursor:
        cursor.execute(
            "SELECT customer_id, array_agg(sequence ORDER BY position) FROM delivery GROUP BY 1"
            " ORDER BY 1"
        )
        assert [numbers for _, numbers in cursor] == [[1, 2, 3, 4, 5]] * 30
        cursor.execute(
            "SELECT count(*), count(DISTINCT id), count(DISTINCT aggregateid) FROM outbox"
        )
        assert cursor.fetchone() == (150, 150, 30)
    begin.close()


def test_a_number_after_another_than_the_last_one_is_refused_by_the_database(url: str) -> None:
    """The second wall: what was read without the customer's lock may be old."""
    worker = session(url)
    with worker.transaction() as cursor:
        add_notifications(cursor, [ordered("anna")])
    [(customer, letters)] = lease(worker)
    results = [_result(letters)]
    old = {customer: Standing(sequence=7)}
    numbered, after = number(results, old)
    settlement = repository.Settlement(results=results, numbered=numbered, before=old, after=after)
    with pytest.raises(postgres.DatabaseError), worker.transaction() as cursor:
        repository.settle(cursor, settlement, worker="w", back_off_s_max=60)
    with worker.transaction() as cursor:
        cursor.execute("SELECT state, sequence FROM delivery")
        assert cursor.fetchall() == [("PENDING", None)]
    worker.close()


def test_an_outcome_is_written_beside_its_notification_and_into_no_index(url: str) -> None:
    worker = session(url)
    with worker.transaction() as cursor:
        add_notifications(cursor, [ordered("anna")])
        add_notifications(cursor, [ordered("bert")])
    results = [_result(letters) for _, letters in lease(worker)]
    with worker.transaction() as cursor:
        settle(cursor, results, worker="w", back_off_s_max=60, encode=_encoded)
    with worker.transaction() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    with worker.transaction() as cursor:
        cursor.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'delivery'"
        )
        assert cursor.fetchall() == [(2, 2)]
    worker.close()


def _result(letters: list[Letter]) -> SendResult:
    return SendResult(
        customer_id=letters[0].customer_id,
        outcomes=tuple(Outcome(letter=letter, at=AT) for letter in letters),
    )


def _encoded(_topic: str, _event: msgspec.Struct) -> bytes:
    return uuid4().bytes
