"""
The payment service's own listener in the real container, on Kafka, books and a provider in memory:
an order that is cancelled keeps no money, whatever comes when, and from which partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.builders import an_order, cancelled, new_order_id, payment_requested
from tests.support.flaky_provider import FlakyProvider
from tests.support.payment_books import PaymentBooks

from orderflow.contracts.events import OrderCancelled, OrderCreated, PaymentRequested
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import Metadata
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.testing.bus import Bus, Faults
from orderflow.messaging.work.calls import Calls, InlineCalls
from orderflow.services.payment.gateway import Answer, ProviderAccount, Verdict
from orderflow.services.payment.handlers import Payments
from orderflow.services.payment.listeners import LISTENER, with_payments
from orderflow.services.payment.model import Payment, PaymentState, Refund
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import ClosedOrder

REPLAY = replay_topic(ORDERS, LISTENER.group).name
DLT = dead_letter_topic(ORDERS, LISTENER.group).name
DAY = timedelta(days=1)
HOUR_S = 3600.0
SUCCEEDED, FAILED, REFUNDED = "PaymentSucceeded", "PaymentFailed", "PaymentRefunded"

Command = OrderCreated | PaymentRequested | OrderCancelled


class Provider(FlakyProvider):
    """`losing`: it acts, and its answers get lost. `deaf`: requests get lost. `away`: refuses."""

    def __init__(self, *, trouble: float = 0.0, seed: int = 0) -> None:
        super().__init__(window=DAY, trouble=trouble, seed=seed)
        self.losing, self.deaf, self.away, self.refuses_refunds = False, False, False, False
        self.asked: list[str] = []

    async def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        return await self._answer(
            "charge", lambda: super(Provider, self).charge(payment, after_voids=after_voids)
        )

    async def find(self, payment: Payment) -> ProviderAccount:
        self.asked.append("find")
        if self.away or self.deaf or self.losing:
            raise Unavailable("no answer", resource="provider")
        return await super().find(payment)

    async def void(self, payment: Payment, *, final: bool) -> Answer:
        return await self._answer("void", lambda: super(Provider, self).void(payment, final=final))

    async def refund(self, payment: Payment, refund: Refund) -> Answer:
        if self.refuses_refunds:
            self.asked.append("refund")
            return Answer(Verdict.REFUSED)
        return await self._answer("refund", lambda: super(Provider, self).refund(payment, refund))

    async def _answer(self, operation: str, work: Any) -> Answer:
        self.asked.append(operation)
        if self.away:
            raise Unavailable("away", resource="provider")
        if self.deaf:
            return Answer(Verdict.UNKNOWN)
        answer: Answer = await work()
        return Answer(Verdict.UNKNOWN) if self.losing else answer


async def nothing_arrived(payment: Payment) -> ProviderAccount:
    del payment
    return ProviderAccount()


class ManualCalls(Calls[Record]):
    """Calls that end when the test says so."""

    pool: ManualCalls

    def __init__(self, call: Any, calls_max: int) -> None:
        super().__init__(call, calls_max)
        self.under_way: list[tuple[Record, Any]] = []
        type(self).pool = self

    def end_all(self) -> None:
        for record, task in self.under_way:
            self._finished.put(self._made(record, task))
        self.under_way = []

    def _start(self, item: Record, task: Any) -> None:
        self.under_way.append((item, task))


class Paying:
    """The listener, its provider and its books. `send` takes the topic from `replayed`."""

    def __init__(
        self,
        provider: Provider | None = None,
        *,
        faults: Faults | None = None,
        workers: int = 1,
        calls: type[Calls[Record]] = InlineCalls,
        seed: int = 0,
    ) -> None:
        self.provider = provider or Provider()
        self.books = PaymentBooks()
        payments = Payments(
            self.books,
            ProviderCalls(self.provider, key_window=DAY),
            books=self.books,
            clock=self._now,
        )
        self.bus = Bus(
            (with_payments(payments, calls_max=8),),
            catalogue=CATALOGUE,
            faults=faults or Faults(wave_max=500),
            workers=workers,
            calls=calls,
            seed=seed,
        )

    def _now(self) -> datetime:
        return self.bus.clock.now()

    def send(self, event: Command, *, replayed: bool = False) -> Metadata:
        return self.bus.publish(ORDERS.name, event, to=REPLAY if replayed else "")

    def turn(self, times: int = 1, *, advance_s: float = 0.25) -> None:
        for _ in range(times):
            self.bus.clock.advance(advance_s)
            self.bus.workers[LISTENER.name][0].turn()

    def run(self) -> None:
        self.bus.run()

    def turn_for(self, seconds: float) -> None:
        until = self.bus.clock.monotonic() + seconds
        while self.bus.clock.monotonic() < until:
            self.turn(advance_s=1.0)

    def announced(self) -> list[str]:
        return [metadata.type.rpartition(".")[2] for metadata, _ in self.bus.events(PAYMENTS.name)]

    @property
    def dead(self) -> list[Any]:
        return self.bus.records(DLT)

    def kept(self, order_id: OrderId) -> int:
        """What the provider holds of this order's money."""
        accounts = (self.provider.books.account(payment_id(order_id, n)) for n in (1, 2, 3))
        return sum(account.refundable_minor for account in accounts)


@pytest.mark.parametrize("replayed_first", [True, False])
def test_a_replayed_order_and_its_cancellation_that_come_together_keep_no_money(
    *, replayed_first: bool
) -> None:
    """As after a restart with a backlog: both are heads, each of its own partition."""
    paying, order_id = Paying(), new_order_id()
    commands: list[tuple[Command, bool]] = [
        (an_order(order_id), True),
        (cancelled(an_order(order_id)), False),
    ]
    for event, replayed in commands if replayed_first else commands[::-1]:
        paying.send(event, replayed=replayed)
    paying.run()
    assert paying.kept(order_id) == 0
    assert paying.books.kept_from_closed == []
    assert sorted(paying.announced()) in ([FAILED], [REFUNDED, SUCCEEDED])


def test_a_cancellation_in_the_last_minute_of_an_unanswered_hour_has_an_hour_of_its_own() -> None:
    """And it has more than that: it is never given up, because the money would be forgotten."""
    paying, order_id = Paying(), new_order_id()
    paying.provider.losing = True
    paying.send(an_order(order_id))
    paying.turn(4)
    paying.provider.deaf, paying.provider.losing = True, False
    paying.provider.find = nothing_arrived  # type: ignore[method-assign]
    while not paying.dead:
        paying.turn(advance_s=20.0)

    paying.send(cancelled(an_order(order_id)))
    voids = paying.provider.asked.count("void")
    paying.turn_for(3 * HOUR_S)
    assert len(paying.dead) == 1, "the cancellation is not given up"
    assert paying.provider.asked.count("void") - voids > 100
    assert paying.books.accounts[order_id].closed

    del paying.provider.find
    paying.provider.deaf = False
    paying.run()
    assert paying.kept(order_id) == 0
    assert paying.announced() == [SUCCEEDED, REFUNDED]


def test_a_retry_after_the_hour_has_a_whole_hour_again() -> None:
    paying, order_id = Paying(), new_order_id()
    paying.provider.deaf = True
    paying.provider.find = nothing_arrived  # type: ignore[method-assign]
    created = paying.send(an_order(order_id))
    while not paying.dead:
        paying.turn(advance_s=20.0)
    payment = paying.books.payments[payment_id(order_id, 1)]
    assert payment.state is PaymentState.UNKNOWN

    paying.bus.append(
        [
            (REPLAY, record.key(), record.value(), record.headers())
            for record in paying.bus.records(ORDERS.name)
        ]
    )
    paying.turn_for(HOUR_S - 300)
    assert len(paying.dead) == 1
    paying.provider.deaf = False
    paying.run()
    assert paying.announced() == [SUCCEEDED]
    (cause,) = {metadata.causation_id for metadata, _ in paying.bus.events(PAYMENTS.name)}
    assert cause == str(created.id)


def test_a_refund_that_the_provider_refuses_stays_owed_and_is_sent_again_every_five_minutes() -> (
    None
):
    paying, order_id = Paying(), new_order_id()
    paying.send(an_order(order_id))
    paying.run()
    paying.provider.refuses_refunds = True
    paying.send(cancelled(an_order(order_id)))
    paying.turn_for(2 * HOUR_S)
    assert 15 < paying.provider.asked.count("refund") < 30
    refund = paying.books.payments[payment_id(order_id, 1)].refund
    assert refund is not None
    assert refund.settled_at is None
    assert paying.dead == []
    paying.provider.refuses_refunds = False
    paying.run()
    assert paying.announced() == [SUCCEEDED, REFUNDED]
    assert paying.kept(order_id) == 0


@pytest.mark.parametrize("captured", [True, False])
def test_an_order_that_is_cancelled_behind_its_unanswered_charge_is_not_charged_again(
    *, captured: bool
) -> None:
    """It is closed while the charge still waits, so the next step is a void."""
    paying, order_id = Paying(), new_order_id()
    paying.provider.losing, paying.provider.deaf = captured, not captured
    paying.send(an_order(order_id))
    paying.turn(4)
    paying.provider.losing = paying.provider.deaf = False
    paying.send(cancelled(an_order(order_id)))
    paying.run()
    assert paying.provider.asked.count("charge") == 1
    assert paying.announced() == ([SUCCEEDED, REFUNDED] if captured else [FAILED])
    assert paying.kept(order_id) == 0
    closing = paying.books.accounts[order_id].closing
    assert closing is not None
    assert not closing.ahead, "the cancellation's own record has had its turn"


def test_an_order_that_is_cancelled_before_its_charge_was_begun_is_never_charged() -> None:
    paying, order_id = Paying(), new_order_id()
    paying.send(an_order(order_id))
    paying.send(cancelled(an_order(order_id)))
    paying.run()
    assert paying.announced() == [FAILED]
    assert paying.provider.asked == []


def test_a_capture_of_an_order_that_was_closed_ahead_is_owed_and_left_to_the_cancellation() -> None:
    paying, order_id = Paying(calls=ManualCalls), new_order_id()
    paying.send(an_order(order_id))
    paying.turn(3)
    ManualCalls.pool.end_all()
    cancellation = paying.send(cancelled(an_order(order_id)))
    closing = ClosedOrder(cancelled(an_order(order_id)), str(cancellation.id), ahead=True)
    with paying.books.transaction() as cursor:
        paying.books.close_ahead(cursor, [closing], now=paying.bus.clock.now())
    paying.turn()
    refund = paying.books.payments[payment_id(order_id, 1)].refund
    assert refund is not None, "it is owed in the transaction of the capture"
    assert refund.created_by == str(cancellation.id)
    for _ in range(8):
        paying.turn()
        ManualCalls.pool.end_all()
    causes = [metadata.causation_id for metadata, _ in paying.bus.events(PAYMENTS.name)]
    assert paying.announced() == [SUCCEEDED, REFUNDED]
    assert causes[1] == str(cancellation.id)


def test_who_asks_anew_for_a_settled_payment_gets_the_same_event_again() -> None:
    paying, order_id = Paying(), new_order_id()
    paying.send(an_order(order_id))
    paying.run()
    paying.send(payment_requested(an_order(order_id), 1))
    paying.run()
    first, again = paying.bus.records(PAYMENTS.name)
    assert first.value() == again.value()
    assert first.metadata.id == again.metadata.id
    assert paying.provider.asked == ["charge"]

    paying.send(cancelled(an_order(order_id)))
    paying.run()
    paying.send(cancelled(an_order(order_id)))
    paying.run()
    _, _, refunded, outcome_again, refunded_again = paying.bus.records(PAYMENTS.name)
    assert (outcome_again.metadata.id, refunded_again.metadata.id) == (
        first.metadata.id,
        refunded.metadata.id,
    )
    assert refunded_again.value() == refunded.value()


COMMANDS = ("created", "attempt 2", "cancelled")
steps = st.lists(
    st.tuples(st.sampled_from(COMMANDS), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=9,
)


@settings(deadline=None, max_examples=60)
@given(history=steps, seed=st.integers(0, 2**16), workers=st.integers(1, 2))
def test_in_every_history_a_closed_order_keeps_no_money_and_an_open_one_is_charged_once(
    history: list[tuple[str, bool, int]], seed: int, workers: int
) -> None:
    """Any events, replays among them, while answers get lost, and workers lose state and turns."""
    provider = Provider(trouble=0.4, seed=seed)
    faults = Faults(repeat=0.2, abort=0.1, unknown=0.1, expel=0.05, crash=0.1, wave_max=8)
    paying = Paying(provider, faults=faults, workers=workers, seed=seed)
    orders = [OrderId(str(UUID(int=2 * seed + number))) for number in range(2)]
    cancelled_orders: set[OrderId] = set()
    for command, replayed, turns in history:
        for order_id in orders:
            event = _event(order_id, command)
            paying.send(event, replayed=replayed)
            if command == "cancelled":
                cancelled_orders.add(order_id)
        _some_turns(paying, turns)
    # Without further crashes, which would let a record's attempts begin anew for ever.
    paying.bus.faults = Faults(wave_max=8)
    paying.bus.broker.chances = {}
    paying.run()
    provider.arrive()

    for order_id in orders:
        captures = [
            charge.status.value
            for n in (1, 2)
            for charge in provider.books.account(payment_id(order_id, n)).charges
        ].count("CAPTURED")
        assert captures <= 1
        if order_id in cancelled_orders:
            assert paying.kept(order_id) == 0, "a closed order keeps no money"
    assert paying.books.kept_from_closed == []


def _event(order_id: OrderId, command: str) -> Command:
    if command == "created":
        return an_order(order_id)
    if command == "cancelled":
        return cancelled(an_order(order_id))
    return payment_requested(an_order(order_id), 2)


def _some_turns(paying: Paying, turns: int) -> None:
    workers: Sequence[Any] = paying.bus.workers[LISTENER.name]
    for number in range(turns):
        paying.bus.clock.advance(0.25)
        workers[number % len(workers)].turn()
