"""
The three phases of a payment on a real database, called as the container calls them: locks,
compare-and-set, constraints and statements, by one worker and by several, with crashes between the
phases and a provider that loses answers. Judged by the provider's ledger.

What the rules decide without a database is proved in tests/unit/services/payment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from time import sleep
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from tests.support.builders import (
    AMOUNT_MINOR,
    an_order,
    an_order_on_request,
    cancelled,
    new_order_id,
    now,
    payment_requested,
    received,
)
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.flaky_provider import FlakyProvider
from tests.support.payment_views import kept_from_closed
from tests.support.stack import Stack

import orderflow.services.payment
from orderflow.contracts.events import (
    Event,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentSucceeded,
)
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.listener import Ask, Prepared, Received, Settled, Unknown
from orderflow.messaging.work.calls import driven
from orderflow.neighbours.psp.tokens import ChargeStatus
from orderflow.services.payment import repository
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.handlers import Payments, announce
from orderflow.services.payment.model import AnotherPaymentStands, Payment
from orderflow.services.payment.model import failed as failed_payment
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import ClosedOrder

SERVICE = Path(orderflow.services.payment.__file__).parent
MIGRATIONS = SERVICE / "migrations"
DAY = timedelta(days=1)
NEVER = timedelta(0)
TRIES_MAX = 400


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "payment") as url:
        postgres.migrate(url, MIGRATIONS)
        yield url


@pytest.fixture(autouse=True)
def _empty(url: str) -> None:
    with postgres.connect(
        database_settings(url), application_name="test", autocommit=True
    ) as connection:
        connection.execute("TRUNCATE known_order, closed_order, payment, refund, ledger_total")


class Crash(Exception):
    """The worker dies here; another takes the record up from the beginning."""


@dataclass
class Worker:
    """Runs the three phases of each record again and again, until the record is announced."""

    url: str
    provider: FlakyProvider
    window: timedelta = DAY
    crash: Callable[[str], None] = lambda _point: None
    announced: list[tuple[UUID, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = postgres.Session(
            database_settings(self.url), application_name="payment-test", session=postgres.BY_KEY
        )
        self.payments = Payments(self.session, ProviderCalls(self.provider, key_window=self.window))

    def handle(self, *records: Received) -> list[Event]:
        """Bring one batch to its end; the events that it announced now."""
        for _ in range(TRIES_MAX):
            try:
                prepared = self._prepared(list(records))
                self.crash("announce")
            except (Transient, Crash):
                continue
            announced = [(cause.metadata.id, event) for cause, event in announce(prepared)]
            self.announced += announced
            return [event for _, event in announced]
        raise AssertionError(f"not settled after {TRIES_MAX} tries")

    def _prepared(self, records: list[Received]) -> list[Prepared]:
        phases = self.payments.intent(records)
        self.crash("intent")
        while calls := [
            (record, phase.task)
            for record, phase in zip(records, phases, strict=True)
            if isinstance(phase, Ask)
        ]:
            finished = [(record, task, driven(self.payments.call(task))) for record, task in calls]
            self.crash("call")
            after = iter(self.payments.outcome(finished))
            phases = [next(after) if isinstance(phase, Ask) else phase for phase in phases]
            self.crash("outcome")
        if any(isinstance(phase, Unknown) for phase in phases):
            raise Transient("unknown", resource="provider")
        return [
            Prepared(record, phase.outcome)
            for record, phase in zip(records, phases, strict=True)
            if isinstance(phase, Settled)
        ]


@pytest.fixture
def provider() -> FlakyProvider:
    return FlakyProvider(window=DAY)


@pytest.fixture
def worker(url: str, provider: FlakyProvider) -> Iterator[Worker]:
    worker = Worker(url, provider)
    yield worker
    worker.session.close()


def captured(provider: FlakyProvider, order_id: OrderId, attempt: int = 1) -> int:
    charges = provider.books.account(payment_id(order_id, attempt)).charges
    return sum(charge.status is ChargeStatus.CAPTURED for charge in charges)


def test_a_charge_is_announced_with_what_the_provider_said(
    worker: Worker, provider: FlakyProvider
) -> None:
    """In one batch with an order that is paid on request, which is not charged."""
    good, on_request, bad = new_order_id(), new_order_id(), new_order_id()
    yes, no = worker.handle(
        received(an_order(good)),
        received(an_order_on_request(on_request)),
        received(an_order(bad, token="pm_declined")),
    )
    assert isinstance(yes, PaymentSucceeded)
    assert isinstance(no, PaymentFailed)
    assert (
        yes.provider_reference == provider.books.account(payment_id(good, 1)).charges[0].charge_id
    )
    assert (no.reason, no.message) == ("DECLINED", "the card was declined")
    assert yes.lines == an_order(good).lines
    assert (yes.order_id, no.order_id) == (good, bad)
    assert len(provider.books.entries) == 2


def test_the_same_record_again_says_the_same_and_asks_nobody(
    worker: Worker, provider: FlakyProvider
) -> None:
    order_id = new_order_id()
    creation, cancellation = received(an_order(order_id)), received(cancelled(an_order(order_id)))
    first = worker.handle(creation) + worker.handle(cancellation)
    entries = len(provider.books.entries)
    again = worker.handle(creation) + worker.handle(cancellation)
    assert msgspec.json.encode(again) == msgspec.json.encode(first)
    assert len(provider.books.entries) == entries


@pytest.mark.parametrize("charged", [True, False])
def test_a_cancellation_that_finds_an_open_payment_voids_it_first(
    url: str, worker: Worker, provider: FlakyProvider, *, charged: bool
) -> None:
    """As when its OrderCreated is a dead letter, or waits on another worker."""
    order_id = new_order_id()
    creation = received(an_order(order_id))
    (phase,) = worker.payments.intent([creation])
    assert isinstance(phase, Ask)
    if charged:
        driven(worker.payments.call(phase.task))
    announced = worker.handle(received(cancelled(an_order(order_id))))
    expected = [PaymentSucceeded, PaymentRefunded] if charged else [PaymentFailed]
    assert [type(event) for event in announced] == expected
    assert worker.handle(creation) == [], "what the cancellation announced is not announced again"
    late = driven(worker.payments.call(phase.task))
    assert late.verdict in (Verdict.CAPTURED, Verdict.UNKNOWN)
    worker.payments.outcome([(creation, phase.task, late)])
    assert captured(provider, order_id) == charged
    assert sums(url) == sums_of(provider)


@pytest.mark.parametrize("window", [DAY, NEVER])
def test_a_charge_sent_after_a_cancellation_voided_the_payment_takes_nothing(
    url: str, window: timedelta
) -> None:
    """A slower worker recorded its intent before, and calls the provider only now."""
    provider = FlakyProvider(window=window)
    slow, quick = Worker(url, provider, window), Worker(url, provider, window)
    creation = received(an_order())
    slow.payments.intent([creation])
    (again,) = slow.payments.intent([creation])
    assert isinstance(again, Ask)
    assert [
        type(event)
        for event in quick.handle(received(cancelled(an_order(creation.event.order_id))))
    ] == [PaymentFailed]
    assert driven(slow.payments.call(again.task)).verdict is Verdict.UNKNOWN
    assert captured(provider, creation.event.order_id) == 0
    slow.session.close()
    quick.session.close()


def test_an_outcome_that_somebody_else_recorded_stands(worker: Worker) -> None:
    creation = received(an_order())
    (phase,) = worker.payments.intent([creation])
    assert isinstance(phase, Ask)
    yes, no = Answer(Verdict.CAPTURED, "ch_1"), Answer(Verdict.DECLINED, "ch_2", "no")
    (first,) = worker.payments.outcome([(creation, phase.task, yes)])
    (second,) = worker.payments.outcome([(creation, phase.task, no)])
    (third,) = worker.payments.outcome([(creation, phase.task, Answer(Verdict.UNKNOWN))])
    assert isinstance(first, Settled)
    assert first == second
    assert isinstance(third, Unknown)
    assert worker.payments.intent([creation]) == [first]


def test_the_same_order_twice_among_finished_calls_settles_once(
    worker: Worker, provider: FlakyProvider
) -> None:
    """As when a partition went and came back while calls were running."""
    order_id = new_order_id()
    worker.handle(received(an_order(order_id)))
    cancellation = received(cancelled(an_order(order_id)))
    (phase,) = worker.payments.intent([cancellation])
    assert isinstance(phase, Ask)
    answer = driven(worker.payments.call(phase.task))
    first, second = worker.payments.outcome(
        [(cancellation, phase.task, answer), (cancellation, phase.task, answer)]
    )
    assert first == second
    assert provider.books.totals["EUR"].refunds == 1


def test_a_batch_takes_as_many_statements_as_a_record(url: str, provider: FlakyProvider) -> None:
    def statements(count: int) -> int:
        worker, executed = Worker(url, provider), 0
        with worker.session.transaction() as cursor:
            kind = type(cursor)
        original = kind.execute

        def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal executed
            executed += 1
            return original(self, *args, **kwargs)

        batch = [received(an_order()) for _ in range(count)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "execute", counting)
            worker.handle(*batch)
            worker.handle(
                *[received(cancelled(an_order(record.event.order_id))) for record in batch]
            )
        worker.session.close()
        return executed

    assert statements(1) == statements(300)


def test_the_audit_finds_a_capture_that_a_closed_order_keeps(url: str, worker: Worker) -> None:
    order_id = new_order_id()
    worker.handle(received(an_order(order_id)))
    with postgres.connect(database_settings(url), application_name="test") as connection:
        assert kept_from_closed(connection.cursor()) == []
        connection.execute(
            "INSERT INTO closed_order (order_id, customer_id, reason, closed_by, closed_at)"
            " SELECT order_id, 'c', 'CUSTOMER', gen_random_uuid(), now() FROM known_order"
        )
        assert kept_from_closed(connection.cursor()) == [payment_id(order_id, 1)]
        connection.rollback()


def test_a_capture_that_is_recorded_for_a_closed_order_is_owed_by_the_same_transaction(
    url: str, worker: Worker, provider: FlakyProvider
) -> None:
    """The cancellation was recorded while the charge was on its way; the fast way must see it."""
    order_id = new_order_id()
    creation, cancellation = received(an_order(order_id)), received(cancelled(an_order(order_id)))
    (phase,) = worker.payments.intent([creation])
    assert isinstance(phase, Ask)
    answer = driven(worker.payments.call(phase.task))
    worker.payments.look_ahead([cancellation])
    (settled,) = worker.payments.outcome([(creation, phase.task, answer)])
    assert isinstance(settled, Settled)
    assert [type(event) for event in settled.outcome] == [PaymentSucceeded]
    with worker.session.transaction() as cursor:
        (payment,) = repository.find(cursor, [order_id])[order_id].payments
        assert repository.open_at_provider(cursor).owed == 1
    assert payment.refund is not None
    assert payment.refund.created_by == str(cancellation.metadata.id)
    assert [type(event) for event in worker.handle(cancellation)] == [PaymentRefunded]
    assert sums(url) == sums_of(provider)


Done = Callable[[postgres.Cursor, Received], None]


def _closed(cursor: postgres.Cursor, creation: Received) -> None:
    order = cancelled(an_order(creation.event.order_id))
    ahead = [ClosedOrder(order, str(uuid4()), ahead=True)]
    repository.lock(cursor, [order.order_id])
    repository.close_ahead(cursor, ahead, now=now())


def _declined(cursor: postgres.Cursor, creation: Received) -> None:
    order_id = creation.event.order_id
    repository.lock_again(cursor, [order_id])
    (payment,) = repository.find(cursor, [order_id])[order_id].payments
    declined = PaymentFailureReason.DECLINED
    failed = failed_payment(payment, declined, "no", cause=str(uuid4()), now=now())
    repository.settle(cursor, [failed])


@pytest.mark.parametrize(
    ("meanwhile", "announced", "owed"), [(_closed, [PaymentSucceeded], 1), (_declined, [], 0)]
)
def test_what_is_committed_while_an_outcome_waits_for_its_order_is_seen_by_it(
    url: str, worker: Worker, meanwhile: Done, announced: list[type[Event]], owed: int
) -> None:
    """The statement began before, and sees by the lock what came since."""
    creation = received(an_order())
    (phase,) = worker.payments.intent([creation])
    assert isinstance(phase, Ask)
    answer = driven(worker.payments.call(phase.task))

    settings = database_settings(url)
    with (
        ThreadPoolExecutor(1) as thread,
        postgres.connect(settings, application_name="other") as other,
    ):
        meanwhile(other.cursor(), creation)
        waiting = thread.submit(worker.payments.outcome, [(creation, phase.task, answer)])
        until_waiting_for_a_lock(url)
        other.commit()
        (settled,) = waiting.result(10)
    assert isinstance(settled, Settled)
    assert [type(event) for event in settled.outcome] == announced
    with worker.session.transaction() as cursor:
        assert repository.open_at_provider(cursor).owed == owed


def until_waiting_for_a_lock(url: str) -> None:
    with postgres.connect(
        database_settings(url), application_name="look", autocommit=True
    ) as connection:
        for _ in range(500):
            waits = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            ).fetchone()
            if waits == (1,):
                return
            sleep(0.01)
    raise AssertionError("nobody waits")


def test_a_batch_with_all_kinds_of_records_is_one_statement_for_those_that_are_new(
    worker: Worker, provider: FlakyProvider
) -> None:
    """And the others, in the same batch, are decided from what is recorded."""
    old, new = received(an_order()), received(an_order())
    gone = received(cancelled(an_order()))
    (first,) = worker.payments.intent([old])
    assert isinstance(first, Ask)
    finished = [(old, first.task, driven(worker.payments.call(first.task)))]
    (settled,), (begun, again, closed) = worker.payments.advance(finished, [new, old, gone])
    assert isinstance(settled, Settled)
    assert again == settled, "its outcome was recorded by the statement before"
    assert isinstance(begun, Ask)
    assert closed == Settled(())
    assert not begun.task.sent_before
    (known,) = worker.payments.intent([new])
    assert isinstance(known, Ask)
    assert known.task.sent_before, "what is recorded is looked up before it is sent again"


def test_a_second_look_ahead_and_the_record_itself_change_nothing_that_was_closed_ahead(
    worker: Worker,
) -> None:
    order_id = new_order_id()
    cancellation = received(cancelled(an_order(order_id)))
    worker.payments.look_ahead([cancellation, received(an_order(order_id))])
    worker.payments.look_ahead([cancellation])
    with worker.session.transaction() as cursor:
        closing = repository.find(cursor, [order_id])[order_id].closing
    assert closing is not None
    assert (closing.by, closing.ahead) == (str(cancellation.metadata.id), True)
    assert worker.handle(cancellation) == []
    with worker.session.transaction() as cursor:
        closing = repository.find(cursor, [order_id])[order_id].closing
    assert closing is not None
    assert not closing.ahead
    (refused,) = worker.handle(received(an_order(order_id)))
    assert isinstance(refused, PaymentFailed)


def test_the_hour_of_an_unknown_outcome_is_on_the_row_and_is_that_of_each_record(
    worker: Worker,
) -> None:
    order_id = new_order_id()
    first = received(an_order(order_id))
    retried = msgspec.structs.replace(first, offset=first.offset + 900)
    since = []
    for record in (first, first, retried):
        (phase,) = worker.payments.intent([record])
        assert isinstance(phase, Ask)
        lost = Answer(Verdict.UNKNOWN)
        (unknown,) = worker.payments.outcome([(record, phase.task, lost)])
        assert isinstance(unknown, Unknown)
        assert unknown.gives_up
        since.append(unknown.since)
    assert since[0] == since[1]
    assert since[1] is not None
    assert since[2] is not None
    assert since[2] > since[1]
    (phase,) = worker.payments.intent([received(cancelled(an_order(order_id)))])
    assert isinstance(phase, Ask)
    (owed,) = worker.payments.outcome([(first, phase.task, Answer(Verdict.UNKNOWN))])
    assert isinstance(owed, Unknown)
    assert not owed.gives_up


TROUBLED = [
    pytest.param(DAY, 60, id="keys known"),
    pytest.param(NEVER, 60, id="keys not known"),
    pytest.param(DAY, 2_000, id="keys known, long", marks=pytest.mark.soak),
    pytest.param(NEVER, 2_000, id="keys not known, long", marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("window", "orders"), TROUBLED)
def test_under_crashes_and_lost_answers_each_payment_is_taken_and_refunded_once(
    url: str, window: timedelta, orders: int
) -> None:
    """Three workers with the same records, each in an order of its own, repeats among them."""
    provider = FlakyProvider(window=window, trouble=0.5, seed=orders)
    stories = [_story(Random(number)) for number in range(orders)]
    workers = [Worker(url, provider, window, _crashing(Random(seed))) for seed in range(3)]
    with ThreadPoolExecutor(len(workers)) as pool:
        running = [
            pool.submit(_work, worker, stories, Random(seed)) for seed, worker in enumerate(workers)
        ]
        for future in running:
            future.result()
    provider.arrive()
    for worker in workers:
        worker.session.close()
    assert provider.books.totals["EUR"].captures > orders / 4, "the stories are too tame"
    assert {payment: keys for payment, keys in provider.keys.items() if keys != {payment}} == {}
    for story in stories:
        _judge(story, provider)
    _judge_announcements([event for worker in workers for event in worker.announced])
    assert sums(url) == sums_of(provider)


@dataclass(frozen=True)
class Story:
    order_id: OrderId
    records: tuple[Received, ...]
    closed: bool


def _story(chance: Random) -> Story:
    order_id = new_order_id()
    token = chance.choice(["pm_ok", "pm_ok", "pm_declined"])
    records = [received(an_order(order_id, token=token))]
    if token == "pm_declined":
        records.append(received(payment_requested(an_order(order_id), 2)))
    closed = chance.random() < 0.6
    if closed:
        records.append(received(cancelled(an_order(order_id))))
    return Story(order_id, tuple(records), closed)


def _work(worker: Worker, stories: Sequence[Story], chance: Random) -> None:
    """Mostly in their order, as on a partition; sometimes not, as from a replay's topic."""
    mine = list(stories)
    chance.shuffle(mine)
    for story in mine:
        records = list(story.records)
        if chance.random() < 0.3:
            chance.shuffle(records)
        for record in records:
            with suppress(
                AnotherPaymentStands
            ):  # A dead letter: an attempt that came after its successor.
                worker.handle(record)


def _crashing(chance: Random) -> Callable[[str], None]:
    def crash(_point: str) -> None:
        if chance.random() < 0.15:
            raise Crash

    return crash


def _judge(story: Story, provider: FlakyProvider) -> None:
    captures = [captured(provider, story.order_id, attempt) for attempt in (1, 2)]
    assert max(captures) <= 1, f"{story.order_id} was captured twice under one reference"
    assert sum(captures) <= 1, f"{story.order_id} was captured under two references"
    open_minor = sum(
        provider.books.account(payment_id(story.order_id, n)).refundable_minor for n in (1, 2)
    )
    if story.closed:
        assert open_minor == 0, f"{story.order_id} is closed, and {open_minor} were kept"
    else:
        assert open_minor == AMOUNT_MINOR, f"{story.order_id} is open, and {open_minor} were taken"


def _judge_announcements(announced: list[tuple[UUID, Event]]) -> None:
    bodies: dict[tuple[UUID, str], set[bytes]] = defaultdict(set)
    announcers: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    for cause, announcement in announced:
        event = cast("PaymentSucceeded | PaymentFailed | PaymentRefunded", announcement)
        kind = "refund" if isinstance(event, PaymentRefunded) else "outcome"
        bodies[cause, f"{kind} {event.payment_id}"].add(msgspec.json.encode(event))
        announcers[event.payment_id, kind].add(cause)
    assert max(Counter({key: len(contents) for key, contents in bodies.items()}).values()) == 1, (
        "one id, two contents"
    )
    assert max(len(causes) for causes in announcers.values()) == 1, (
        "an outcome was announced under two ids"
    )


_ADDED_UP = """
SELECT payment.currency, sum(captured_minor),
       coalesce(sum(refund.amount_minor) FILTER (WHERE refund.state = 'SUCCEEDED'), 0),
       count(*) FILTER (WHERE payment.state = 'SUCCEEDED' AND payment.amount_minor > 0),
       count(*) FILTER (WHERE refund.state = 'SUCCEEDED' AND refund.amount_minor > 0),
       count(*) FILTER (WHERE payment.state = 'FAILED'),
       count(*) FILTER (WHERE payment.settled_at IS NULL)
FROM payment LEFT JOIN refund USING (order_id, attempt)
GROUP BY payment.currency ORDER BY payment.currency
"""


def sums(url: str) -> dict[str, tuple[int, int, int, int]]:
    with postgres.connect(database_settings(url), application_name="test") as connection:
        totals = repository.summary(connection.cursor())
        counted = connection.execute(_ADDED_UP.encode()).fetchall()
        assert counted == [
            (
                total.currency,
                total.captured_minor,
                total.refunded_minor,
                total.captures,
                total.refunds,
                total.failed,
                total.unsettled,
            )
            for total in totals
        ], "the sums are those of the rows"
        assert kept_from_closed(connection.cursor()) == []
    assert {total.unsettled for total in totals} <= {0}
    assert {total.owed for total in totals} <= {0}
    return {
        total.currency: (total.captured_minor, total.refunded_minor, total.captures, total.refunds)
        for total in totals
    }


def sums_of(provider: FlakyProvider) -> dict[str, tuple[int, int, int, int]]:
    return {
        currency: (total.captured_minor, total.refunded_minor, total.captures, total.refunds)
        for currency, total in provider.books.totals.items()
    } or {"EUR": (0, 0, 0, 0)}


def test_schema_sql_is_all_migrations_together(stack: Stack, url: str) -> None:
    with empty_database(stack, "payment_schema") as described:
        with postgres.connect(database_settings(described), application_name="test") as connection:
            connection.execute((SERVICE / "schema.sql").read_bytes())
        assert catalogue(described) == catalogue(url)


BAD_ROWS = [
    "UPDATE payment SET refunded_minor = captured_minor + 1",
    "UPDATE payment SET captured_minor = amount_minor - 1",
    "UPDATE payment SET live = false",
    "UPDATE payment SET state = 'FAILED', live = false",
    "UPDATE payment SET settled_by = NULL",
]


@pytest.mark.parametrize("statement", BAD_ROWS)
def test_the_tables_refuse_what_the_rules_forbid(url: str, worker: Worker, statement: str) -> None:
    worker.handle(received(an_order()))
    with (
        postgres.connect(database_settings(url), application_name="test") as connection,
        pytest.raises(postgres.CheckViolation),
    ):
        connection.execute(statement.encode())


def test_the_tables_refuse_a_second_payment_that_stands(url: str, worker: Worker) -> None:
    order_id = new_order_id()
    worker.handle(received(an_order(order_id)))
    second = _payment(worker, order_id)
    with (
        postgres.connect(database_settings(url), application_name="test") as connection,
        pytest.raises(postgres.UniqueViolation, match="payment_one_live"),
    ):
        connection.execute(second)


def _payment(worker: Worker, order_id: OrderId) -> bytes:
    with worker.session.transaction() as cursor:
        first: Payment = repository.find(cursor, [order_id])[order_id].payments[0]
    return f"""
        INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live,
            amount_minor, currency,
                             payment_method, lines, created_at)
        SELECT order_id, 2, gen_random_uuid(), customer_id, 'REQUESTED', true, amount_minor,
            currency, payment_method,
               lines, created_at FROM payment WHERE order_id = '{first.order_id}'
    """.encode()
