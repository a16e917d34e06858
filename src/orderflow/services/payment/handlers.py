"""The use cases in their three phases: intent, call (see `calling`), outcome; and what is announced in the end."""

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
from orderflow.services.payment import model, repository
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.model import Announce, Charge, GiveBack, Payment, Refund, Task, Wait
from orderflow.services.payment.provider_calls import Calling

Progress = Settled | Ask | Unknown
Transaction = Callable[[], AbstractContextManager[Cursor]]
Finished = tuple[Received, Task, Answer]

NOTHING_TO_SAY = Settled(())


def announce(batch: Sequence[Prepared]) -> Iterator[Caused]:
    for prepared in batch:
        for event in prepared.outcome:
            yield prepared.received, event


class Payments:
    """Charges and refunds, each recorded before it is asked for and again when it is known how it ended."""

    def __init__(self, transaction: Transaction, calling: Calling) -> None:
        self._transaction = transaction
        self.call = calling

    def intent(self, batch: Sequence[Received]) -> list[Progress]:
        asking = [received for received in batch if model.asks_for_payment(received.event)]
        if not asking:
            return [NOTHING_TO_SAY] * len(batch)
        with self._transaction() as cursor:
            known = repository.lock(cursor, [received.event.order_id for received in asking])
            steps = _judged(cursor, asking, known)
        failpoint("payment.after_intent")
        if len(asking) == len(batch):
            return steps
        judged = iter(steps)
        return [
            next(judged) if model.asks_for_payment(received.event) else NOTHING_TO_SAY
            for received in batch
        ]

    def outcome(self, finished: Sequence[Finished]) -> list[Progress]:
        now = read_clock()
        payments = [settled for one in finished if (settled := _settled(*one, now=now))]
        refunds = [
            refund for _, task, answer in finished if (refund := _given_back(task, answer, now=now))
        ]
        with self._transaction() as cursor:
            repository.lock_again(cursor, [received.event.order_id for received, _, _ in finished])
            all_mine = repository.settle(cursor, payments)
            repository.settle_refunds(cursor, refunds)
            steps = (
                _told(finished, payments) if all_mine and len(payments) == len(finished) else None
            )
            steps = steps or _looked_up(cursor, finished)
        failpoint("payment.after_outcome")
        return steps


def _judged(
    cursor: Cursor,
    batch: Sequence[Received],
    known: dict[OrderId, model.Known],
    *,
    now: datetime | None = None,
) -> list[Progress]:
    """Decide for each record and write what was decided, in one statement for each table."""
    at = now or read_clock()
    steps = [
        model.decide(
            received.event,
            known.get(received.event.order_id, model.NOTHING),
            cause=str(received.metadata.id),
            now=at,
        )
        for received in batch
    ]
    repository.record(cursor, steps, now=at)
    return [_progress(step.then) for step in steps]


def _told(finished: Sequence[Finished], payments: Sequence[Payment]) -> list[Progress] | None:
    """The common case: charges that all came to their end, and all recorded by us."""
    if not all(type(task) is Charge for _, task, _ in finished):
        return None
    return [
        Settled((model.outcome_of(payment),)) if payment.settled else Unknown(payment.created_at)
        for payment in payments
    ]


def _looked_up(cursor: Cursor, finished: Sequence[Finished]) -> list[Progress]:
    """What is recorded decides: somebody may have been faster, and a closed order may have to be refunded now."""
    known = repository.find(cursor, [received.event.order_id for received, _, _ in finished])
    sure = [received for received, _, answer in finished if answer.verdict is not Verdict.UNKNOWN]
    steps = iter(_judged(cursor, sure, known))
    return [
        Unknown(_since(task)) if answer.verdict is Verdict.UNKNOWN else next(steps)
        for _, task, answer in finished
    ]


def _settled(received: Received, task: Task, answer: Answer, *, now: datetime) -> Payment | None:
    """The payment as this answer leaves it, if it is about the payment."""
    if isinstance(task, GiveBack):
        return None
    payment, cause = task.payment, str(received.metadata.id)
    match answer.verdict:
        case Verdict.CAPTURED:
            return model.captured(payment, answer.reference, cause=cause, now=now)
        case Verdict.DECLINED:
            return model.failed(
                payment, PaymentFailureReason.DECLINED, answer.message, cause=cause, now=now
            )
        case Verdict.VOIDED:
            message = "the order was cancelled, and the charge with it"
            return model.failed(
                payment, PaymentFailureReason.ORDER_CANCELLED, message, cause=cause, now=now
            )
        case _:
            return model.unknown(payment)


def _given_back(task: Task, answer: Answer, *, now: datetime) -> Refund | None:
    if isinstance(task, GiveBack) and answer.verdict is Verdict.REFUNDED:
        return model.given_back(task.refund, answer.reference, now=now)
    return None


def _since(task: Task) -> datetime:
    return task.refund.created_at if isinstance(task, GiveBack) else task.payment.created_at


def _progress(then: Announce | Task | Wait) -> Progress:
    match then:
        case Announce(events):
            return Settled(events)
        case Wait(since):
            return Unknown(since)
        case _:
            return Ask(then)
