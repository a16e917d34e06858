"""
Payments in a real database: the three phases as the container calls them, by one worker and by several, with crashes
between them and a provider that misbehaves. Judged by the provider's books.
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
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from tests.support.databases import catalogue, empty_database
from tests.support.flaky_provider import FlakyProvider
from tests.support.order_service import database_settings
from tests.support.payment import (
    AMOUNT_MINOR,
    cancelled,
    created,
    created_on_request,
    new_order_id,
    requested,
)
from tests.support.stack import Stack

import orderflow.services.payment
from orderflow.contracts.events import Event, PaymentFailed, PaymentRefunded, PaymentSucceeded
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.messaging import postgres
from orderflow.messaging.errors import Poison, Transient
from orderflow.messaging.event import EventId, Metadata
from orderflow.messaging.listener import Ask, Prepared, Received, Settled, Unknown
from orderflow.neighbours.psp.ledger import ChargeStatus
from orderflow.services.payment import repository
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.handlers import Payments, announce
from orderflow.services.payment.model import AnotherPaymentStands, Heard, Payment
from orderflow.services.payment.provider_calls import Calling

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
        connection.execute("TRUNCATE known_order, closed_order, payment, refund")


class Crash(Exception):
    """The worker dies here; another takes the record up from the beginning."""


@dataclass
class Worker:
    """One listener's payment half: the three phases of a record, again and again until it is announced."""

    url: str
    provider: FlakyProvider
    window: timedelta = DAY
    crash: Callable[[str], None] = lambda _point: None
    said: list[tuple[UUID, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = postgres.Session(
            database_settings(self.url), application_name="payment-test", session=postgres.BY_KEY
        )
        self.payments = Payments(
            self.session.transaction, Calling(self.provider, key_window=self.window)
        )

    def hear(self, *records: Received) -> list[Event]:
        """All of one batch, to the end; what it announced now."""
        for _ in range(TRIES_MAX):
            try:
                settled = self._prepared(list(records))
                self.crash("announce")
            except (Transient, Crash):
                continue
            told = [(cause.metadata.id, event) for cause, event in announce(settled)]
            self.said += told
            return [event for _, event in told]
        raise AssertionError(f"not settled after {TRIES_MAX} tries")

    def _prepared(self, records: list[Received]) -> list[Prepared]:
        steps = self.payments.intent(records)
        self.crash("intent")
        while open_ones := [
            (r, s.task) for r, s in zip(records, steps, strict=True) if isinstance(s, Ask)
        ]:
            finished = [(received, task, self.payments.call(task)) for received, task in open_ones]
            self.crash("call")
            after = iter(self.payments.outcome(finished))
            steps = [next(after) if isinstance(step, Ask) else step for step in steps]
            self.crash("outcome")
        if any(isinstance(step, Unknown) for step in steps):
            raise Transient("unknown", resource="provider")
        return [
            Prepared(r, s.outcome)
            for r, s in zip(records, steps, strict=True)
            if isinstance(s, Settled)
        ]


@pytest.fixture
def provider() -> FlakyProvider:
    return FlakyProvider(window=DAY)


@pytest.fixture
def worker(url: str, provider: FlakyProvider) -> Iterator[Worker]:
    worker = Worker(url, provider)
    yield worker
    worker.session.close()


def record(event: Heard, event_id: UUID | None = None) -> Received:
    metadata = Metadata(
        id=EventId(event_id or uuid4()),
        type=event.type_name(),
        source="/test",
        time=event.occurred_at,
        subject=event.order_id,
        correlation_id=event.order_id,
    )
    return Received(
        event=event,
        metadata=metadata,
        topic="orders",
        partition=0,
        offset=0,
        key=event.order_id.encode(),
    )


def captured(provider: FlakyProvider, order_id: OrderId, attempt: int = 1) -> int:
    charges = provider.books.account(payment_id(order_id, attempt)).charges
    return sum(charge.status is ChargeStatus.CAPTURED for charge in charges)


def test_a_charge_is_announced_with_what_the_provider_said(
    worker: Worker, provider: FlakyProvider
) -> None:
    good, bad = new_order_id(), new_order_id()
    yes, no = worker.hear(record(created(good)), record(created(bad, token="pm_declined")))
    assert isinstance(yes, PaymentSucceeded)
    assert isinstance(no, PaymentFailed)
    assert (
        yes.provider_reference == provider.books.account(payment_id(good, 1)).charges[0].charge_id
    )
    assert (no.reason, no.message) == ("DECLINED", "the card was declined")
    assert yes.lines == created(good).lines


def test_the_same_record_again_says_the_same_and_asks_nobody(
    worker: Worker, provider: FlakyProvider
) -> None:
    order_id = new_order_id()
    told, called_off = record(created(order_id)), record(cancelled(order_id))
    first = worker.hear(told) + worker.hear(called_off)
    entries = len(provider.books.entries)
    again = worker.hear(told) + worker.hear(called_off)
    assert msgspec.json.encode(again) == msgspec.json.encode(first)
    assert len(provider.books.entries) == entries


def test_the_same_payment_under_another_event_id_is_not_announced_again(worker: Worker) -> None:
    order_id = new_order_id()
    assert len(worker.hear(record(created(order_id)))) == 1
    assert worker.hear(record(created(order_id))) == []
    assert len(worker.hear(record(cancelled(order_id)))) == 1
    assert worker.hear(record(cancelled(order_id))) == []


def test_an_order_paid_on_request_is_not_charged_when_it_is_created(
    worker: Worker, provider: FlakyProvider
) -> None:
    on_request, automatic = new_order_id(), new_order_id()
    told = worker.hear(record(created_on_request(on_request)), record(created(automatic)))
    assert [event.order_id for event in told] == [automatic]
    assert len(provider.books.entries) == 1


def test_a_total_of_zero_is_settled_and_given_back_without_a_call(
    worker: Worker, provider: FlakyProvider
) -> None:
    order_id = new_order_id()
    (paid,) = worker.hear(record(requested(order_id, 1, minor=0)))
    assert isinstance(paid, PaymentSucceeded)
    assert paid.provider_reference is None
    (refunded,) = worker.hear(record(cancelled(order_id)))
    assert isinstance(refunded, PaymentRefunded)
    assert refunded.amount_minor == 0
    assert provider.books.entries == []


def test_a_cancelled_order_is_refunded_in_full_once(
    worker: Worker, provider: FlakyProvider
) -> None:
    order_id = new_order_id()
    worker.hear(record(created(order_id)))
    (refunded,) = worker.hear(record(cancelled(order_id, "OUT_OF_STOCK")))
    assert isinstance(refunded, PaymentRefunded)
    assert (refunded.amount_minor, refunded.reason) == (AMOUNT_MINOR, "OUT_OF_STOCK")
    total = provider.books.totals["EUR"]
    assert (total.captured_minor, total.refunded_minor) == (AMOUNT_MINOR, AMOUNT_MINOR)


def test_an_order_that_comes_after_its_cancellation_is_not_charged(
    worker: Worker, provider: FlakyProvider
) -> None:
    order_id = new_order_id()
    assert worker.hear(record(cancelled(order_id))) == []
    (refused,) = worker.hear(record(created(order_id)))
    assert isinstance(refused, PaymentFailed)
    assert refused.reason == "ORDER_CANCELLED"
    assert provider.books.entries == []


def test_a_declined_order_that_is_cancelled_has_nothing_to_give_back(worker: Worker) -> None:
    order_id = new_order_id()
    worker.hear(record(created(order_id, token="pm_declined")))
    assert worker.hear(record(cancelled(order_id))) == []


def test_a_second_attempt_is_charged_after_the_first_failed_and_never_after_it_succeeded(
    worker: Worker, provider: FlakyProvider
) -> None:
    order_id = new_order_id()
    worker.hear(record(created(order_id, token="pm_declined")))
    (paid,) = worker.hear(record(requested(order_id, 2)))
    assert isinstance(paid, PaymentSucceeded)
    with pytest.raises(AnotherPaymentStands):
        worker.hear(record(requested(order_id, 3)))
    assert [captured(provider, order_id, attempt) for attempt in (1, 2, 3)] == [0, 1, 0]


def test_a_payment_id_that_is_not_the_attempts_own_is_poison(
    worker: Worker, provider: FlakyProvider
) -> None:
    foreign = msgspec.structs.replace(
        created(new_order_id()), payment_id=payment_id(new_order_id(), 1)
    )
    with pytest.raises(Poison):
        worker.hear(record(foreign))
    assert provider.books.entries == []


@pytest.mark.parametrize("charged", [True, False])
def test_a_cancel_that_finds_an_open_payment_resolves_it_first(
    url: str, worker: Worker, provider: FlakyProvider, *, charged: bool
) -> None:
    """As when its OrderCreated is a dead letter, or waits on another worker."""
    order_id = new_order_id()
    told = record(created(order_id))
    (step,) = worker.payments.intent([told])
    assert isinstance(step, Ask)
    if charged:
        worker.payments.call(step.task)
    said = worker.hear(record(cancelled(order_id)))
    wanted = [PaymentSucceeded, PaymentRefunded] if charged else [PaymentFailed]
    assert [type(event) for event in said] == wanted
    assert worker.hear(told) == [], "what the cancellation announced is not announced again"
    late = worker.payments.call(step.task)
    assert late.verdict in (Verdict.CAPTURED, Verdict.UNKNOWN)
    worker.payments.outcome([(told, step.task, late)])
    assert captured(provider, order_id) == charged
    assert sums(url) == sums_of(provider)


@pytest.mark.parametrize("window", [DAY, NEVER])
def test_nobody_who_still_means_to_charge_can_do_so_after_the_cancellation_resolved_the_payment(
    url: str, window: timedelta
) -> None:
    provider = FlakyProvider(window=window)
    one, other = Worker(url, provider, window), Worker(url, provider, window)
    told = record(created(new_order_id()))
    one.payments.intent([told])
    (again,) = one.payments.intent([told])
    assert isinstance(again, Ask)
    assert [type(event) for event in other.hear(record(cancelled(told.event.order_id)))] == [
        PaymentFailed
    ]
    assert one.payments.call(again.task).verdict is Verdict.UNKNOWN
    assert captured(provider, told.event.order_id) == 0
    one.session.close()
    other.session.close()


def test_an_intent_that_exists_is_looked_up_before_it_is_sent_again(
    worker: Worker, provider: FlakyProvider
) -> None:
    provider.books = FlakyProvider(window=NEVER).books
    worker.payments.call.__init__(provider, key_window=NEVER)  # type: ignore[misc]
    order_id = new_order_id()
    told = record(created(order_id))
    (step,) = worker.payments.intent([told])
    assert isinstance(step, Ask)
    worker.payments.call(step.task)
    assert len(worker.hear(told)) == 1
    assert captured(provider, order_id) == 1


def test_an_outcome_that_somebody_else_recorded_stands(worker: Worker) -> None:
    told = record(created(new_order_id()))
    (step,) = worker.payments.intent([told])
    assert isinstance(step, Ask)
    yes, no = Answer(Verdict.CAPTURED, "ch_1"), Answer(Verdict.DECLINED, "ch_2", "no")
    (first,) = worker.payments.outcome([(told, step.task, yes)])
    (second,) = worker.payments.outcome([(told, step.task, no)])
    (third,) = worker.payments.outcome([(told, step.task, Answer(Verdict.UNKNOWN))])
    assert isinstance(first, Settled)
    assert first == second
    assert isinstance(third, Unknown)
    assert worker.payments.intent([told]) == [first]


def test_the_same_order_twice_among_finished_calls_settles_once(
    worker: Worker, provider: FlakyProvider
) -> None:
    """As when a partition went and came back while calls were running."""
    order_id = new_order_id()
    worker.hear(record(created(order_id)))
    told = record(cancelled(order_id))
    (step,) = worker.payments.intent([told])
    assert isinstance(step, Ask)
    answer = worker.payments.call(step.task)
    first, second = worker.payments.outcome([(told, step.task, answer), (told, step.task, answer)])
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

        batch = [record(created(new_order_id())) for _ in range(count)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "execute", counting)
            worker.hear(*batch)
            worker.hear(*[record(cancelled(one.event.order_id)) for one in batch])
        worker.session.close()
        return executed

    assert statements(1) == statements(300)


TROUBLED = [
    pytest.param(DAY, 60, id="keys known"),
    pytest.param(NEVER, 60, id="keys not known"),
    pytest.param(DAY, 2_000, id="keys known, long", marks=pytest.mark.soak),
    pytest.param(NEVER, 2_000, id="keys not known, long", marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("window", "orders"), TROUBLED)
def test_whatever_crashes_and_gets_lost_each_payment_is_taken_once_and_given_back_once(
    url: str, window: timedelta, orders: int
) -> None:
    """Three workers with the same records, repeats and replays among them, in orders of their own."""
    provider = FlakyProvider(window=window, trouble=0.5, seed=orders)
    stories = [_story(Random(number)) for number in range(orders)]
    workers = [Worker(url, provider, window, _crashing(Random(seed))) for seed in range(3)]
    with ThreadPoolExecutor(len(workers)) as pool:
        running = [
            pool.submit(_work, worker, stories, Random(seed)) for seed, worker in enumerate(workers)
        ]
        for one in running:
            one.result()
    provider.arrive()
    for worker in workers:
        worker.session.close()
    assert provider.books.totals["EUR"].captures > orders / 4, "the stories are too tame"
    assert {payment: keys for payment, keys in provider.keys.items() if keys != {payment}} == {}
    for story in stories:
        _judge(story, provider)
    _judge_announcements([one for worker in workers for one in worker.said])
    assert sums(url) == sums_of(provider)


@dataclass(frozen=True)
class Story:
    order_id: OrderId
    records: tuple[Received, ...]
    closed: bool


def _story(chance: Random) -> Story:
    order_id = new_order_id()
    token = chance.choice(["pm_ok", "pm_ok", "pm_declined"])
    records = [record(created(order_id, token=token))]
    if token == "pm_declined":
        records.append(record(requested(order_id, 2)))
    closed = chance.random() < 0.6
    if closed:
        records.append(record(cancelled(order_id)))
    return Story(order_id, tuple(records), closed)


def _work(worker: Worker, stories: Sequence[Story], chance: Random) -> None:
    """Mostly in their order, as on a partition; sometimes not, as from a replay's topic."""
    mine = list(stories)
    chance.shuffle(mine)
    for story in mine:
        records = list(story.records)
        if chance.random() < 0.3:
            chance.shuffle(records)
        for received in records:
            with suppress(
                AnotherPaymentStands
            ):  # A dead letter: an attempt that came after its successor.
                worker.hear(received)


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


def _judge_announcements(said: list[tuple[UUID, Event]]) -> None:
    bodies: dict[tuple[UUID, str], set[bytes]] = defaultdict(set)
    announcers: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    for cause, event in said:
        told = cast("PaymentSucceeded | PaymentFailed | PaymentRefunded", event)
        kind = "refund" if isinstance(told, PaymentRefunded) else "outcome"
        bodies[cause, f"{kind} {told.payment_id}"].add(msgspec.json.encode(event))
        announcers[told.payment_id, kind].add(cause)
    assert max(Counter({key: len(found) for key, found in bodies.items()}).values()) == 1, (
        "one id, two contents"
    )
    assert max(len(causes) for causes in announcers.values()) == 1, (
        "an outcome was announced under two ids"
    )


def sums(url: str) -> dict[str, tuple[int, int, int, int]]:
    with postgres.connect(database_settings(url), application_name="test") as connection:
        found = repository.summary(connection.cursor())
    assert {one.unsettled for one in found} <= {0}
    return {
        one.currency: (one.captured_minor, one.refunded_minor, one.captures, one.refunds)
        for one in found
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
    worker.hear(record(created(new_order_id())))
    with (
        postgres.connect(database_settings(url), application_name="test") as connection,
        pytest.raises(postgres.CheckViolation),
    ):
        connection.execute(statement.encode())


def test_the_tables_refuse_a_second_payment_that_stands(url: str, worker: Worker) -> None:
    order_id = new_order_id()
    worker.hear(record(created(order_id)))
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
        INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live, amount_minor, currency,
                             payment_method, lines, created_at)
        SELECT order_id, 2, gen_random_uuid(), customer_id, 'REQUESTED', true, amount_minor, currency, payment_method,
               lines, created_at FROM payment WHERE order_id = '{first.order_id}'
    """.encode()
