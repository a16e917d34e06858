"""
The use cases of payment, in the three phases of `Prepare`, and the events announced at the end.

Intent: what is about to be sent to the provider is committed first. Call: the provider, outside
any transaction. Outcome: the provider's answer is committed, by compare-and-set. A crash between
two phases leaves a row from which the next run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from orderflow.contracts.events import OrderCancelled, PaymentFailureReason
from orderflow.contracts.ids import OrderId
from orderflow.messaging.event import Attributes, EventId, read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import Ask, Caused, Prepared, Received, Settled, Unknown
from orderflow.messaging.postgres import Cursor
from orderflow.services.payment import model, repository, rules
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.model import (
    NEW_ORDER,
    OrderAccount,
    Payment,
    Refund,
    Repeated,
)
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import (
    Announce,
    ChargePayment,
    ClosedOrder,
    Decision,
    ProviderTask,
    RefundPayment,
    Wait,
)

NextPhase = Settled | Ask | Unknown
FinishedCall = tuple[Received, ProviderTask, Answer]

REFUSED_AGAIN_S = 300.0
"""A refund that the provider refuses is sent again every five minutes: people have to act first."""

NOTHING_TO_ANNOUNCE = Settled(())
CANCELLED_WITH_CHARGE = "the order was cancelled, and the charge with it"


def announce(batch: Sequence[Prepared]) -> Iterator[Caused]:
    """Return the recorded outcomes as events. Runs in the Kafka transaction; touches nothing."""
    for prepared in batch:
        for event in prepared.outcome:
            if isinstance(event, Repeated):
                yield _as_record_of(event.cause, prepared.received), event.event
            else:
                yield prepared.received, event


def _as_record_of(cause: str, received: Received) -> Received:
    """The record as if it carried event `cause`: what it causes has the ids of that event's."""
    metadata = msgspec.structs.replace(received.metadata, id=EventId(UUID(cause)))
    return msgspec.structs.replace(received, attributes=Attributes.of(metadata))


class Database(Protocol):
    """What the use cases need of a `postgres.Session`."""

    def transaction(self) -> AbstractContextManager[Cursor]: ...

    def statement(self) -> AbstractContextManager[Cursor]: ...


class Books(Protocol):
    """What the use cases need of `repository`, which is the only one beside that of the tests."""

    def advance(
        self, cursor: Cursor, outcomes: Sequence[Payment], intents: Sequence[Payment], /
    ) -> tuple[set[OrderId], set[OrderId]]: ...

    def lock(
        self, cursor: Cursor, order_ids: Sequence[OrderId], /
    ) -> dict[OrderId, OrderAccount]: ...

    def lock_again(self, cursor: Cursor, order_ids: Sequence[OrderId], /) -> None: ...

    def find(
        self, cursor: Cursor, order_ids: Sequence[OrderId], /
    ) -> dict[OrderId, OrderAccount]: ...

    def write(self, cursor: Cursor, decisions: Sequence[Decision], /, *, now: datetime) -> None: ...

    def close_ahead(
        self, cursor: Cursor, orders: Sequence[ClosedOrder], /, *, now: datetime
    ) -> None: ...

    def settle(self, cursor: Cursor, payments: Sequence[Payment], /) -> None: ...

    def settle_refunds(self, cursor: Cursor, refunds: Sequence[Refund], /) -> None: ...


class Payments:
    """
    Charges and refunds in the phases of `Prepare`: intent, call, outcome.

    What nearly all records need is one statement (`advance`): the charge of an order that is new,
    and the answer to it while the order is open. All else is decided from the rows, under a lock.
    """

    def __init__(
        self,
        database: Database,
        provider_calls: ProviderCalls,
        *,
        books: Books = repository,
        clock: Callable[[], datetime] = read_clock,
    ) -> None:
        self._database = database
        self._provider_calls = provider_calls
        self._books = books
        self._clock = clock

    def intent(self, batch: Sequence[Received]) -> list[NextPhase]:
        """
        Record what each record asks for, or continue from what is recorded.

        An order that is paid on request asks for nothing when it is created: no row, no event.
        """
        return self.advance((), batch)[1]

    def outcome(self, finished: Sequence[FinishedCall]) -> list[NextPhase]:
        """
        Record the provider's answers, and return what follows from what is then recorded.

        An outcome that another worker recorded first is kept, and is the one announced.
        """
        return self.advance(finished, ())[0]

    def advance(
        self, finished: Sequence[FinishedCall], batch: Sequence[Received]
    ) -> tuple[list[NextPhase], list[NextPhase]]:
        """`outcome` of the one and `intent` of the other, in one statement as far as it can be."""
        now = self._clock()
        after_calls, after_intents = self._advance_together(finished, batch, now=now)
        after_intents |= {
            at: NOTHING_TO_ANNOUNCE
            for at, received in enumerate(batch)
            if not rules.asks_for_payment(received.event)
        }

        others = [call for at, call in enumerate(finished) if at not in after_calls]
        rest = [received for at, received in enumerate(batch) if at not in after_intents]
        phases = (
            _in_place(finished, after_calls, self._outcome_from_rows(others, now=now)),
            _in_place(batch, after_intents, self._intent_from_rows(rest)),
        )
        if any(rules.asks_for_payment(received.event) for received in batch):
            # A death here: the intent is recorded, the provider has seen nothing.
            failpoint("payment.after_intent")
        if finished:
            # A death here: the outcome is recorded and not announced; the next run announces it.
            failpoint("payment.after_outcome")
        return phases

    def _advance_together(
        self, finished: Sequence[FinishedCall], batch: Sequence[Received], *, now: datetime
    ) -> tuple[dict[int, NextPhase], dict[int, NextPhase]]:
        """What follows for those that one statement was enough for, by their places."""
        answered = _charges_by_order(finished, now=now)
        begun = _first_charges(batch, now=now)
        if not (answered or begun):
            return {}, {}

        # The intent commits before the call: after a crash the row shows that a charge may be out.
        with self._database.statement() as cursor:
            settled, new = self._books.advance(
                cursor,
                [payment for _, payment in answered.values()],
                [_recorded_by(decision) for _, decision in begun.values()],
            )
        return (
            {
                at: _phase_after_charge(payment)
                for at, payment in map(answered.__getitem__, settled)
            },
            {at: _next_phase(decision.then) for at, decision in map(begun.__getitem__, new)},
        )

    def _intent_from_rows(self, batch: Sequence[Received]) -> list[NextPhase]:
        if not batch:
            return []
        with self._database.transaction() as cursor:
            accounts = self._books.lock(cursor, _order_ids(batch))
            return self._decide_and_write(cursor, batch, accounts)

    def look_ahead(self, behind: Sequence[Received]) -> None:
        """
        Close the orders whose cancellation waits behind another record: what is before it must not
        be charged, or charged again, only to be refunded.

        The cancellation's own record does all the rest, in its turn.
        """
        orders = {
            received.event.order_id: ClosedOrder(
                received.event, str(received.metadata.id), ahead=True
            )
            for received in reversed(behind)
            if isinstance(received.event, OrderCancelled)
        }
        if not orders:
            return

        with self._database.transaction() as cursor:
            self._books.lock(cursor, list(orders))
            self._books.close_ahead(cursor, list(orders.values()), now=self._clock())

    async def call(self, task: ProviderTask) -> Answer:
        """Carry out one task at the provider. Raises Unavailable when nothing was sent."""
        return await self._provider_calls.call(task)

    def _outcome_from_rows(
        self, finished: Sequence[FinishedCall], *, now: datetime
    ) -> list[NextPhase]:
        if not finished:
            return []
        payments = [
            payment for call in finished if (payment := payment_after(call, now=now)) is not None
        ]
        refunds = [
            refund for call in finished if (refund := refund_after(call, now=now)) is not None
        ]

        with self._database.transaction() as cursor:
            # Lock, compare-and-set, then read: nobody can change what the announcement is built of.
            # Whether the order is closed is read then, too: a capture of a closed order is owed.
            self._books.lock_again(cursor, _order_ids(received for received, _, _ in finished))
            self._books.settle(cursor, payments)
            self._books.settle_refunds(cursor, refunds)
            return self._decide_again(cursor, finished, now=now)

    def _decide_and_write(
        self,
        cursor: Cursor,
        batch: Sequence[Received],
        accounts: dict[OrderId, OrderAccount],
    ) -> list[NextPhase]:
        """
        Decide about each record and write all decisions, one statement per table.

        Of two records of one order the second is decided from what the first leaves.
        """
        now = self._clock()
        decisions = []
        for received in batch:
            order_id = received.event.order_id
            account = accounts.get(order_id, NEW_ORDER)
            decision = rules.decide(
                received.event, account, cause=str(received.metadata.id), now=now
            )
            accounts[order_id] = rules.account_after(decision, account)
            decisions.append(decision)

        self._books.write(cursor, decisions, now=now)
        return [_next_phase(decision.then) for decision in decisions]

    def _decide_again(
        self, cursor: Cursor, finished: Sequence[FinishedCall], *, now: datetime
    ) -> list[NextPhase]:
        """
        Decide from the rows, as `intent` does.

        Another worker may have recorded an outcome first, and a charge that turned out to be
        captured has to be refunded now if its order is closed. Records whose answer is unknown
        wait.
        """
        accounts = self._books.find(cursor, _order_ids(received for received, _, _ in finished))
        answered = [received for received, _, answer in finished if answer.says]
        phases = iter(self._decide_and_write(cursor, answered, accounts))
        return [
            next(phases) if call[2].says else _phase_while_unknown(call, now=now)
            for call in finished
        ]


def _order_ids(batch: Iterable[Received]) -> list[OrderId]:
    """Each order once: a batch may hold two records of one."""
    return list(dict.fromkeys(received.event.order_id for received in batch))


def _charges_by_order(
    finished: Sequence[FinishedCall], *, now: datetime
) -> dict[OrderId, tuple[int, Payment]]:
    """The payments as answers to charges leave them, with their places; of an order the first."""
    answered: dict[OrderId, tuple[int, Payment]] = {}
    for at, call in enumerate(finished):
        if isinstance(call[1], ChargePayment):
            payment = payment_after(call, now=now)
            assert payment is not None
            answered.setdefault(payment.order_id, (at, payment))
    return answered


def _first_charges(
    batch: Sequence[Received], *, now: datetime
) -> dict[OrderId, tuple[int, Decision]]:
    """
    What is decided about those records that ask for a payment, with their places, if their orders
    are new; of an order the first record.
    """
    begun: dict[OrderId, tuple[int, Decision]] = {}
    seen: set[OrderId] = set()
    for at, received in enumerate(batch):
        event, order_id = received.event, received.event.order_id
        if order_id in seen or not rules.asks_for_payment(event):
            continue
        seen.add(order_id)
        if not isinstance(event, OrderCancelled):
            cause = str(received.metadata.id)
            begun[order_id] = (at, rules.decide(event, NEW_ORDER, cause=cause, now=now))
    return begun


def _recorded_by(decision: Decision) -> Payment:
    assert decision.payment is not None, "a payment of a new order is recorded"
    return decision.payment


def _in_place(
    all_of_them: Sequence[object], done: Mapping[int, NextPhase], rest: Sequence[NextPhase]
) -> list[NextPhase]:
    """The phases in their order: those of the places in `done`, and of all others `rest`."""
    remaining = iter(rest)
    return [done[at] if at in done else next(remaining) for at in range(len(all_of_them))]


def _phase_after_charge(payment: Payment) -> NextPhase:
    if payment.settled:
        return Settled((model.outcome_event(payment),))
    return Unknown(payment.waiting_since)


def _phase_while_unknown(call: FinishedCall, *, now: datetime) -> NextPhase:
    """
    A charge is looked up for an hour. What a closed order is owed is never given up: the money
    would be forgotten.
    """
    received, task, answer = call
    if isinstance(task, ChargePayment):
        waiting = model.unknown(task.payment, record=_place(received), now=now)
        return Unknown(waiting.waiting_since)
    rest_s = REFUSED_AGAIN_S if answer.verdict is Verdict.REFUSED else 0.0
    return Unknown(gives_up=False, rest_s=rest_s)


def _place(received: Received) -> str:
    """Which record it is: a retry of the same event is another one."""
    return f"{received.topic}-{received.partition}@{received.offset}"


def payment_after(call: FinishedCall, *, now: datetime) -> Payment | None:
    """The payment as the answer leaves it; None if the call was a refund."""
    received, task, answer = call
    if isinstance(task, RefundPayment):
        return None

    payment, cause = task.payment, str(received.metadata.id)
    match answer.verdict:
        case Verdict.CAPTURED:
            return model.captured(payment, answer.reference, cause=cause, now=now)
        case Verdict.DECLINED:
            declined = PaymentFailureReason.DECLINED
            return model.failed(payment, declined, answer.message, cause=cause, now=now)
        case Verdict.VOIDED:
            cancelled = PaymentFailureReason.ORDER_CANCELLED
            return model.failed(payment, cancelled, CANCELLED_WITH_CHARGE, cause=cause, now=now)
        case _:
            return model.unknown(payment, record=_place(received), now=now)


def refund_after(call: FinishedCall, *, now: datetime) -> Refund | None:
    """The refund as the answer leaves it; None if the call was no refund or its result is lost."""
    _, task, answer = call
    if isinstance(task, RefundPayment) and answer.verdict is Verdict.REFUNDED:
        return model.refunded(task.refund, answer.reference, now=now)
    return None


def _next_phase(then: Announce | ProviderTask | Wait) -> NextPhase:
    match then:
        case Announce(events):
            return Settled(events)
        case Wait():
            return Unknown()
        case _:
            return Ask(then)
