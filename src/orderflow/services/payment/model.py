"""
An order's payments and refunds, how each of them ends, and the event that announces the end.

Imports no driver. `rules` decides what happens to these values; `repository` stores them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec

from orderflow.contracts.events import (
    Event,
    OrderCreated,
    OrderLine,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
)
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, RefundId, payment_id, refund_id
from orderflow.messaging.errors import Poison, RecordFault

T = TypeVar("T", bound=msgspec.Struct)


class AnotherPaymentStands(RecordFault):
    """Another attempt of the order was captured. Charging this one is an operator's decision."""


class PaymentState(StrEnum):
    """REQUESTED: a charge may have been sent. UNKNOWN: it was sent, its result is not known."""

    REQUESTED = "REQUESTED"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class RefundState(StrEnum):
    """REQUESTED: a refund may have been sent. There is no FAILED: it is sent until it succeeds."""

    REQUESTED = "REQUESTED"
    SUCCEEDED = "SUCCEEDED"


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """`created_by`: id of the event that caused the refund; its record announces the refund."""

    refund_id: RefundId
    amount_minor: int
    reason: str
    state: RefundState
    provider_reference: str | None = None
    created_at: datetime
    created_by: str
    settled_at: datetime | None = None


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """
    One attempt to charge an order.

    `requested_by`: id of the event that asked for it first. `settled_at`: when the outcome was
    recorded. `settled_by`: id of the event whose record announces the outcome.

    `unknown_since`: when a call for it first had no answer, while it has none. `waiting_record` is
    the record (`orders-2@1234`) that waits for the answer, since `waiting_since`: each record has
    an hour of its own.
    """

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
    requested_by: str | None = None
    settled_at: datetime | None = None
    settled_by: str | None = None
    unknown_since: datetime | None = None
    waiting_record: str | None = None
    waiting_since: datetime | None = None
    refund: Refund | None = None

    @property
    def settled(self) -> bool:
        """Is the outcome recorded, and so final?"""
        return self.settled_at is not None


class Closing(msgspec.Struct, frozen=True):
    """
    The order was cancelled. `by`: id of the event that says so.

    `ahead`: recorded while the event's own record still waits behind others of the order. That
    record will send and announce what is due, so nobody else has to.
    """

    by: str
    reason: str
    ahead: bool = False


class OrderAccount(msgspec.Struct, frozen=True):
    """Everything recorded about one order."""

    closing: Closing | None = None
    payments: tuple[Payment, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the order was cancelled: then nothing more is charged."""
        return self.closing is not None

    def payment(self, attempt: int) -> Payment | None:
        return next((payment for payment in self.payments if payment.attempt == attempt), None)

    @property
    def live(self) -> Payment | None:
        """The payment that has not failed. A unique index allows at most one per order."""
        return next(
            (payment for payment in self.payments if payment.state is not PaymentState.FAILED), None
        )


NEW_ORDER = OrderAccount()
"""The account of an order about which nothing is recorded."""


ANSWERED = {"unknown_since": None, "waiting_record": None, "waiting_since": None}


def requested_payment(
    event: OrderCreated | PaymentRequested, *, cause: str, now: datetime
) -> Payment:
    """
    The payment that an event asks for. `cause` is the event's id.

    Raises Poison when the event's payment id is not the one derived from its order and attempt:
    the id is the provider's idempotency key, so a foreign one could charge twice.
    """
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
        requested_by=cause,
    )


def captured(
    payment: Payment, provider_reference: str | None, *, cause: str, now: datetime
) -> Payment:
    """The payment after the money was taken. `provider_reference` is None for a total of zero."""
    return _replace(
        payment,
        state=PaymentState.SUCCEEDED,
        provider_reference=provider_reference,
        settled_at=now,
        settled_by=cause,
        **ANSWERED,
    )


def failed(
    payment: Payment, reason: PaymentFailureReason, message: str, *, cause: str, now: datetime
) -> Payment:
    """
    The payment after an explicit, final refusal.

    Either the provider refused, or this service did before it sent anything.
    """
    return _replace(
        payment,
        state=PaymentState.FAILED,
        reason=reason.value,
        message=message,
        settled_at=now,
        settled_by=cause,
        **ANSWERED,
    )


def unknown(payment: Payment, *, record: str, now: datetime) -> Payment:
    """
    The payment after a call for `record` whose result was lost. It stays open.

    The hour of a record begins with its own first unanswered call: a late cancellation, or a retry
    after a day, has a whole one.
    """
    same = payment.waiting_record == record
    return _replace(
        payment,
        state=PaymentState.UNKNOWN,
        unknown_since=payment.unknown_since or now,
        waiting_record=record,
        waiting_since=payment.waiting_since if same else now,
    )


def requested_refund(payment: Payment, reason: str, *, cause: str, now: datetime) -> Refund:
    """A refund of the whole payment. A total of zero is refunded at once, without the provider."""
    free = payment.amount_minor == 0
    return Refund(
        refund_id=refund_id(payment.payment_id),
        amount_minor=payment.amount_minor,
        reason=reason,
        state=RefundState.SUCCEEDED if free else RefundState.REQUESTED,
        created_at=now,
        created_by=cause,
        settled_at=now if free else None,
    )


def refunded(refund: Refund, provider_reference: str | None, *, now: datetime) -> Refund:
    """The refund after the money was given back."""
    return _replace(
        refund, state=RefundState.SUCCEEDED, provider_reference=provider_reference, settled_at=now
    )


def with_refund(payment: Payment, refund: Refund) -> Payment:
    return _replace(payment, refund=refund)


class Repeated(msgspec.Struct, frozen=True):
    """
    An event that was announced, or will be, by the record of event `cause`. Announced again it has
    the same id and the same bytes, so whoever knows it already ignores it.
    """

    event: Event
    cause: str


def repetitions(payments: Iterable[Payment]) -> tuple[Repeated, ...]:
    """Every outcome and every refund that is recorded of these payments, under its own cause."""
    return tuple(_repetitions(payments))


def refund_event(payment: Payment, refund: Refund) -> PaymentRefunded:
    """The event that announces a refund that has succeeded."""
    assert refund.settled_at is not None

    return PaymentRefunded(
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


def _repetitions(payments: Iterable[Payment]) -> Iterator[Repeated]:
    for payment in payments:
        if payment.settled_by is not None:
            yield Repeated(outcome_event(payment), payment.settled_by)
        refund = payment.refund
        if refund is not None and refund.settled_at is not None:
            yield Repeated(refund_event(payment, refund), refund.created_by)


def announcements(payments: Iterable[Payment], cause: str) -> tuple[Event, ...]:
    """
    The events that the record of event `cause` announces about these payments.

    Built from recorded values only, so every re-run returns the same events, byte for byte.
    """
    return tuple(_announcements(payments, cause))


def _announcements(payments: Iterable[Payment], cause: str) -> Iterator[Event]:
    for payment in payments:
        if payment.settled_by == cause:
            yield outcome_event(payment)

        refund = payment.refund
        if refund is not None and refund.created_by == cause and refund.settled_at is not None:
            yield refund_event(payment, refund)


def outcome_event(payment: Payment) -> PaymentSucceeded | PaymentFailed:
    """The event that announces a settled payment."""
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


def _replace(struct: T, **changes: object) -> T:
    return msgspec.structs.replace(struct, **changes)
