"""
The use cases of payment, in the three phases of `Prepare`, and the events announced at the end.

Intent: what is about to be sent to the provider is committed first. Call: the provider, outside
any transaction. Outcome: the provider's answer is committed, by compare-and-set. A crash between
two phases leaves a row from which the next run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from orderflow.contracts.events import PaymentFailureReason
from orderflow.contracts.ids import OrderId
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import Ask, Caused, Prepared, Received, Settled, Unknown
from orderflow.messaging.postgres import Cursor
from orderflow.services.payment import model, repository, rules
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.model import NEW_ORDER, OrderAccount, Payment, Refund
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import (
    Announce,
    ChargePayment,
    ProviderTask,
    RefundPayment,
    Wait,
)

NextPhase = Settled | Ask | Unknown
Transaction = Callable[[], AbstractContextManager[Cursor]]
FinishedCall = tuple[Received, ProviderTask, Answer]

NOTHING_TO_ANNOUNCE = Settled(())
CANCELLED_WITH_CHARGE = "the order was cancelled, and the charge with it"


def announce(batch: Sequence[Prepared]) -> Iterator[Caused]:
    """Return the recorded outcomes as events. Runs in the Kafka transaction; touches nothing."""
    for prepared in batch:
        for event in prepared.outcome:
            yield prepared.received, event


class Payments:
    """Charges and refunds in the phases of `Prepare`: intent, call, outcome."""

    def __init__(self, transaction: Transaction, provider_calls: ProviderCalls) -> None:
        self._transaction = transaction
        self._provider_calls = provider_calls

    def intent(self, batch: Sequence[Received]) -> list[NextPhase]:
        """
        Record what each record asks for, or continue from what is recorded.

        An order that is paid on request asks for nothing when it is created: no row, no event.
        """
        asking = [received for received in batch if rules.asks_for_payment(received.event)]
        if not asking:
            return [NOTHING_TO_ANNOUNCE] * len(batch)

        # The intent commits before the call: after a crash the row shows that a charge may be out.
        with self._transaction() as cursor:
            accounts = repository.lock(cursor, [received.event.order_id for received in asking])
            phases = _decide_and_write(cursor, asking, accounts)
        # A death here: the intent is recorded, the provider has seen nothing.
        failpoint("payment.after_intent")

        if len(asking) == len(batch):
            return phases
        remaining = iter(phases)
        return [
            next(remaining) if rules.asks_for_payment(received.event) else NOTHING_TO_ANNOUNCE
            for received in batch
        ]

    def call(self, task: ProviderTask) -> Answer:
        """Carry out one task at the provider. Raises Unavailable when nothing was sent."""
        return self._provider_calls.call(task)

    def outcome(self, finished: Sequence[FinishedCall]) -> list[NextPhase]:
        """
        Record the provider's answers, and return what follows from what is then recorded.

        An outcome that another worker recorded first is kept, and is the one announced.
        """
        now = read_clock()
        payments = [
            payment for call in finished if (payment := payment_after(call, now=now)) is not None
        ]
        refunds = [
            refund for call in finished if (refund := refund_after(call, now=now)) is not None
        ]

        with self._transaction() as cursor:
            # Lock, compare-and-set, then read: nobody can change what the announcement is built of.
            repository.lock_again(cursor, [received.event.order_id for received, _, _ in finished])
            all_written = repository.settle(cursor, payments)
            repository.settle_refunds(cursor, refunds)

            if all_written and _are_charges(finished):
                phases = [_phase_after_charge(payment) for payment in payments]
            else:
                phases = _decide_again(cursor, finished)
        # A death here: the outcome is recorded and not announced; the next run announces it.
        failpoint("payment.after_outcome")
        return phases


def _decide_and_write(
    cursor: Cursor, batch: Sequence[Received], accounts: dict[OrderId, OrderAccount]
) -> list[NextPhase]:
    """Decide about each record and write all decisions, one statement per table."""
    now = read_clock()
    decisions = [
        rules.decide(
            received.event,
            accounts.get(received.event.order_id, NEW_ORDER),
            cause=str(received.metadata.id),
            now=now,
        )
        for received in batch
    ]
    repository.write(cursor, decisions, now=now)
    return [_next_phase(decision.then) for decision in decisions]


def _are_charges(finished: Sequence[FinishedCall]) -> bool:
    """Only charges? Then, once all are written, the answers are the outcome: no need to read."""
    return all(isinstance(task, ChargePayment) for _, task, _ in finished)


def _phase_after_charge(payment: Payment) -> NextPhase:
    if payment.settled:
        return Settled((model.outcome_event(payment),))
    return Unknown(payment.created_at)


def _decide_again(cursor: Cursor, finished: Sequence[FinishedCall]) -> list[NextPhase]:
    """
    Decide from the rows, as `intent` does.

    Another worker may have recorded an outcome first, and a voided charge that turned out to be
    captured has to be refunded now. Records whose answer is unknown wait.
    """
    accounts = repository.find(cursor, [received.event.order_id for received, _, _ in finished])
    answered = [
        received for received, _, answer in finished if answer.verdict is not Verdict.UNKNOWN
    ]
    phases = iter(_decide_and_write(cursor, answered, accounts))
    return [
        Unknown(_since(task)) if answer.verdict is Verdict.UNKNOWN else next(phases)
        for _, task, answer in finished
    ]


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
            return model.unknown(payment)


def refund_after(call: FinishedCall, *, now: datetime) -> Refund | None:
    """The refund as the answer leaves it; None if the call was no refund or its result is lost."""
    _, task, answer = call
    if isinstance(task, RefundPayment) and answer.verdict is Verdict.REFUNDED:
        return model.refunded(task.refund, answer.reference, now=now)
    return None


def _since(task: ProviderTask) -> datetime:
    return task.refund.created_at if isinstance(task, RefundPayment) else task.payment.created_at


def _next_phase(then: Announce | ProviderTask | Wait) -> NextPhase:
    match then:
        case Announce(events):
            return Settled(events)
        case Wait(since):
            return Unknown(since)
        case _:
            return Ask(then)
