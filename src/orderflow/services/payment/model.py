"""
What may be charged and given back, decided from what is recorded. No driver in sight.

Every rule is a function of one event and of all that is known of its order; it is asked again after a crash, a replay
or an answer of the provider, and then decides from what has been recorded since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec

from orderflow.contracts.events import (
    Event,
    OrderCancelled,
    OrderCreated,
    OrderLine,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
)
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, RefundId, payment_id, refund_id
from orderflow.messaging.errors import OrderflowError, Poison

T = TypeVar("T", bound=msgspec.Struct)


class AnotherPaymentStands(OrderflowError):
    """The order was paid by another attempt. Nobody may charge it twice: an operator must look."""


class PaymentState(StrEnum):
    """REQUESTED: the provider may have been asked. UNKNOWN: it was, and did not tell."""

    REQUESTED = "REQUESTED"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class RefundState(StrEnum):
    REQUESTED = "REQUESTED"
    SUCCEEDED = "SUCCEEDED"


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """`created_by`: the event that caused it, and whose record announces it."""

    refund_id: RefundId
    amount_minor: int
    reason: str
    state: RefundState
    provider_reference: str | None = None
    created_at: datetime
    created_by: str
    settled_at: datetime | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to be paid. `settled_by`: the event whose record announces the outcome."""

    order_id: OrderId
    attempt: int
    payment_id: PaymentId
    customer_id: CustomerId
    state: PaymentState
    amount_minor: int
    currency: str
    payment_method: str
    lines: tuple[OrderLine, ...]
    provider_reference: str | None = None
    reason: str | None = None
    message: str | None = None
    created_at: datetime
    settled_at: datetime | None = None
    settled_by: str | None = None
    refund: Refund | None = None

    @property
    def settled(self) -> bool:
        return self.settled_at is not None


class Known(msgspec.Struct, frozen=True):
    """All that is recorded of an order."""

    closed: bool = False
    payments: tuple[Payment, ...] = ()

    def payment(self, attempt: int) -> Payment | None:
        return next((payment for payment in self.payments if payment.attempt == attempt), None)

    @property
    def live(self) -> Payment | None:
        """The one that has not failed."""
        return next(
            (payment for payment in self.payments if payment.state is not PaymentState.FAILED), None
        )


NOTHING = Known()


class Charge(msgspec.Struct, frozen=True):
    """Take the money. `sent_before`: perhaps somebody did already."""

    payment: Payment
    sent_before: bool


class Resolve(msgspec.Struct, frozen=True):
    """The order is closed: see that this payment either was captured or never will be."""

    payment: Payment


class GiveBack(msgspec.Struct, frozen=True):
    """Refund the payment."""

    payment: Payment
    refund: Refund
    sent_before: bool


Task = Charge | Resolve | GiveBack


class Announce(msgspec.Struct, frozen=True):
    """All is recorded; these are the events that this record announces, if any."""

    events: tuple[Event, ...] = ()


class Wait(msgspec.Struct, frozen=True):
    """Another record must come to its end first. `since`: when that was begun."""

    since: datetime


class Closing(msgspec.Struct, frozen=True):
    """The order is closed by this."""

    cancelled: OrderCancelled
    cause: str


class Step(msgspec.Struct, frozen=True):
    """What to record, in one transaction, and what to do once it is."""

    then: Announce | Task | Wait
    payment: Payment | None = None
    refund: tuple[Payment, Refund] | None = None
    closing: Closing | None = None


Heard = OrderCreated | PaymentRequested | OrderCancelled


def decide(event: Heard, known: Known, *, cause: str, now: datetime) -> Step:
    """`cause` is the event's id. Raises AnotherPaymentStands."""
    if isinstance(event, OrderCancelled):
        return _cancel(event, known, cause=cause, now=now)
    return _charge(requested(event, now=now), known, cause=cause, now=now)


def asks_for_payment(event: Heard) -> bool:
    """An order that is to be paid on request asks for nothing when it is created."""
    return not isinstance(event, OrderCreated) or event.payment_id is not None


def requested(event: OrderCreated | PaymentRequested, *, now: datetime) -> Payment:
    """The payment that an event asks for. Raises Poison when its id is not the order's and attempt's own."""
    if event.payment_id != payment_id(event.order_id, event.attempt):
        raise Poison(
            f"payment {event.payment_id} is not attempt {event.attempt} of order {event.order_id}"
        )
    return Payment(
        order_id=event.order_id,
        attempt=event.attempt,
        payment_id=event.payment_id,
        customer_id=event.customer_id,
        state=PaymentState.REQUESTED,
        amount_minor=event.amount_minor,
        currency=event.currency,
        payment_method=event.payment_method or "",
        lines=event.lines,
        created_at=now,
    )


def captured(
    payment: Payment, provider_reference: str | None, *, cause: str, now: datetime
) -> Payment:
    return _with(
        payment,
        state=PaymentState.SUCCEEDED,
        provider_reference=provider_reference,
        settled_at=now,
        settled_by=cause,
    )


def failed(
    payment: Payment, reason: PaymentFailureReason, message: str, *, cause: str, now: datetime
) -> Payment:
    """Only after an explicit, final no: the provider's, or ours before anything was sent."""
    return _with(
        payment,
        state=PaymentState.FAILED,
        reason=reason.value,
        message=message,
        settled_at=now,
        settled_by=cause,
    )


def unknown(payment: Payment) -> Payment:
    return _with(payment, state=PaymentState.UNKNOWN)


def given_back(refund: Refund, provider_reference: str | None, *, now: datetime) -> Refund:
    return _with(
        refund, state=RefundState.SUCCEEDED, provider_reference=provider_reference, settled_at=now
    )


def announcements(payments: Iterable[Payment], cause: str) -> tuple[Event, ...]:
    """What the record of event `cause` has to announce of these payments: the same every time."""
    return tuple(_announcements(payments, cause))


def _announcements(payments: Iterable[Payment], cause: str) -> Iterator[Event]:
    for payment in payments:
        if payment.settled_by == cause:
            yield outcome_of(payment)
        refund = payment.refund
        if refund is not None and refund.created_by == cause and refund.settled_at is not None:
            yield PaymentRefunded(
                order_id=payment.order_id,
                customer_id=payment.customer_id,
                attempt=payment.attempt,
                payment_id=payment.payment_id,
                refund_id=refund.refund_id,
                amount_minor=refund.amount_minor,
                currency=payment.currency,
                reason=refund.reason,
                provider_reference=refund.provider_reference,
                occurred_at=refund.settled_at,
            )


def outcome_of(payment: Payment) -> PaymentSucceeded | PaymentFailed:
    """A settled payment, as it is announced."""
    assert payment.settled_at is not None
    if payment.state is PaymentState.FAILED:
        return PaymentFailed(
            order_id=payment.order_id,
            customer_id=payment.customer_id,
            attempt=payment.attempt,
            payment_id=payment.payment_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            reason=payment.reason or "",
            message=payment.message or "",
            occurred_at=payment.settled_at,
        )
    return PaymentSucceeded(
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        attempt=payment.attempt,
        payment_id=payment.payment_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        payment_method=payment.payment_method,
        provider_reference=payment.provider_reference,
        lines=payment.lines,
        occurred_at=payment.settled_at,
    )


def _charge(asked: Payment, known: Known, *, cause: str, now: datetime) -> Step:
    if known is not NOTHING:
        if (mine := known.payment(asked.attempt)) is not None:
            return _go_on(mine, known, cause=cause)
        if known.closed:
            message = "the order was cancelled before it was charged"
            refused = failed(
                asked, PaymentFailureReason.ORDER_CANCELLED, message, cause=cause, now=now
            )
            return Step(Announce((outcome_of(refused),)), payment=refused)
        if (other := known.live) is not None:
            return _after(other, asked)
    if asked.amount_minor == 0:
        free = captured(asked, None, cause=cause, now=now)
        return Step(Announce((outcome_of(free),)), payment=free)
    return Step(Charge(asked, sent_before=False), payment=asked)


def _go_on(mine: Payment, known: Known, *, cause: str) -> Step:
    """The intent is there already. What is recorded counts, not what the event says now."""
    if mine.settled:
        return Step(Announce(announcements((mine,), cause)))
    return Step(Resolve(mine) if known.closed else Charge(mine, sent_before=True))


def _after(other: Payment, asked: Payment) -> Step:
    if not other.settled:
        return Step(Wait(other.created_at))
    raise AnotherPaymentStands(
        f"order {asked.order_id}: attempt {asked.attempt} is not charged, attempt {other.attempt} was captured"
    )


def _cancel(event: OrderCancelled, known: Known, *, cause: str, now: datetime) -> Step:
    closing = None if known.closed else Closing(event, cause)
    live = known.live
    if live is None:
        return Step(Announce(announcements(known.payments, cause)), closing=closing)
    if not live.settled:
        return Step(Resolve(live), closing=closing)
    refund = live.refund
    if refund is None:
        new = _refund(live, event, cause=cause, now=now)
        if new.state is RefundState.SUCCEEDED:
            told = announcements((_with(live, refund=new),), cause)
            return Step(Announce(told), refund=(live, new), closing=closing)
        return Step(GiveBack(live, new, sent_before=False), refund=(live, new), closing=closing)
    if refund.state is RefundState.SUCCEEDED:
        return Step(Announce(announcements(known.payments, cause)), closing=closing)
    return Step(GiveBack(live, refund, sent_before=True), closing=closing)


def _refund(payment: Payment, event: OrderCancelled, *, cause: str, now: datetime) -> Refund:
    """All of it. Of nothing, without asking anybody."""
    free = payment.amount_minor == 0
    return Refund(
        refund_id=refund_id(payment.payment_id),
        amount_minor=payment.amount_minor,
        reason=event.reason,
        state=RefundState.SUCCEEDED if free else RefundState.REQUESTED,
        created_at=now,
        created_by=cause,
        settled_at=now if free else None,
    )


def _with(struct: T, **changes: object) -> T:
    return msgspec.structs.replace(struct, **changes)
