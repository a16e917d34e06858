"""
The words of notifications, and how each customer's are numbered. Imports no driver.

A notification is HELD until the facts before it are known (`story`), then PENDING until the mail
server has accepted it (SENT) or refused it for good (FAILED). Either takes the customer's next
sequence number, so the numbers have no gap. While it is PENDING it has no number, and everything
later for that customer waits behind it, until it is given up (FAILED). One that is OVERTAKEN is
never sent, and gets no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from orderflow.contracts.events import (
    CancelReason,
    NotificationFailed,
    NotificationSent,
    OrderCreated,
    OrderEvent,
    OrderStatus,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    StockRejected,
)
from orderflow.contracts.ids import CustomerId, NotificationId, OrderId
from orderflow.messaging.event import EventId

CHANNEL = "EMAIL"
OVERTAKE_S = -3600.0
WORDS_LENGTH_MAX = 200
ATTEMPTS_BEFORE_GIVING_UP = 10
"""So that a letter that is old because the service was stopped for days gets a fair chance."""

ConsumedEvent = (
    OrderCreated | PaymentSucceeded | PaymentFailed | PaymentRefunded | StockRejected | OrderEvent
)
PublishedEvent = NotificationSent | NotificationFailed


class Kind(StrEnum):
    ORDER_CREATED = "ORDER_CREATED"
    PAYMENT_SUCCEEDED = "PAYMENT_SUCCEEDED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    PAYMENT_REFUNDED = "PAYMENT_REFUNDED"
    STOCK_REJECTED = "STOCK_REJECTED"
    ORDER_SHIPPED = "ORDER_SHIPPED"
    ORDER_DELIVERED = "ORDER_DELIVERED"
    ORDER_CANCELLED = "ORDER_CANCELLED"


class NotificationState(StrEnum):
    HELD = "HELD"
    OVERTAKEN = "OVERTAKEN"
    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Wording(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    kind: Kind
    subject: str
    text: str


class Letter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A notification that is to be sent. `position`: its place among those of its customer;
    `attempts`: how often it was deferred so far.
    """

    position: int
    notification_id: NotificationId
    customer_id: CustomerId
    order_id: OrderId
    kind: Kind
    subject: str
    text: str
    created_at: datetime
    cause_id: EventId
    cause_type: str
    correlation_id: str
    traceparent: str | None
    tracestate: str | None
    attempts: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    The mail server accepted the letter, or refused it for good, or it was given up (`given_up`).

    `refusal`: the server's reply, unless it accepted.
    """

    letter: Letter
    at: datetime
    refusal: str | None = None
    given_up: bool = False


class Deferred(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The mail server replied "not now", or not at all: the letter and all behind it wait."""

    letter: Letter
    reason: str


class SendResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    What came of one customer's letters, in their order.

    First those with an outcome; the next one may be deferred; the rest were not tried.
    """

    customer_id: CustomerId
    outcomes: tuple[Outcome, ...] = ()
    deferred: Deferred | None = None


class NumberedLetter(msgspec.Struct, frozen=True):
    """A letter with an outcome, and the event that announces it under its sequence number."""

    letter: Letter
    event: PublishedEvent


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    How far a customer is: the last number, and the position up to which all letters are settled.
    """

    sequence: int = 0
    position: int = 0


def number(
    results: Sequence[SendResult], standings: Mapping[CustomerId, Standing]
) -> tuple[list[NumberedLetter], dict[CustomerId, Standing]]:
    """
    Give each customer's letters with an outcome the next numbers; returns them, and how far their
    customers are then.

    A letter at a position that is settled got its number from another sender, and is left out.
    `standings` were read while the customers' rows are locked.
    """
    after = dict(standings)
    numbered: list[NumberedLetter] = []
    for outcome in (outcome for result in results for outcome in result.outcomes):
        letter = outcome.letter
        standing = after[letter.customer_id]
        if letter.position <= standing.position:
            continue

        sequence = standing.sequence + 1
        after[letter.customer_id] = Standing(sequence=sequence, position=letter.position)
        numbered.append(NumberedLetter(letter, _event(outcome, sequence=sequence)))
    return numbered, after


def _event(outcome: Outcome, *, sequence: int) -> PublishedEvent:
    letter = outcome.letter
    sent = NotificationSent(
        notification_id=letter.notification_id,
        customer_id=letter.customer_id,
        sequence=sequence,
        order_id=letter.order_id,
        kind=letter.kind,
        channel=CHANNEL,
        cause_id=str(letter.cause_id),
        cause_type=letter.cause_type,
        occurred_at=outcome.at,
    )
    if outcome.refusal is None:
        return sent

    return NotificationFailed(
        **msgspec.structs.asdict(sent), reason=outcome.refusal, attempts=letter.attempts + 1
    )


def give_up(deferred: Deferred, *, at: datetime, give_up_s: float) -> Outcome | None:
    """
    The outcome of a letter that was deferred once more, if it is not tried again: it is as old as
    `give_up_s` seconds, and was tried ten times. None if it is.
    """
    letter = deferred.letter
    age = at - letter.created_at
    attempts = letter.attempts + 1
    if attempts < ATTEMPTS_BEFORE_GIVING_UP or age < timedelta(seconds=give_up_s):
        return None

    seconds = int(age.total_seconds())
    reason = f"EXPIRED after {attempts} attempts in {seconds} s: {deferred.reason}"
    return Outcome(letter=letter, at=at, refusal=reason, given_up=True)


def rest_s(result: SendResult, *, most: float) -> float:
    """
    Seconds until the customer is due again.

    0 if everything that was tried has its outcome; 2^attempts, at most `most`, after a letter was
    deferred; -3600 if the time was over before the first letter, which puts this customer before
    all others.
    """
    if result.deferred is not None:
        return min(most, 2.0 ** min(result.deferred.letter.attempts, 30))
    return 0.0 if result.outcomes else OVERTAKE_S


def wording(event: ConsumedEvent) -> Wording | None:
    """The words for `event`; None if it causes no notification."""
    words = _WORDS.get(_key(event))
    if words is None:
        return None

    kind, headline, sentence = words
    match event:
        case PaymentFailed():
            sentence = _why_not_paid(sentence, event.message)
        case OrderEvent(status=OrderStatus.CANCELLED):
            sentence = _why_cancelled(event.reason)

    return Wording(
        kind=kind,
        subject=f"Your order {event.order_id} {headline}",
        text=f"Hello,\n\n{sentence}\n\nOrderflow\n",
    )


def is_told(event: ConsumedEvent) -> bool:
    """Whether a customer is told of the event."""
    return _key(event) in _WORDS


def _key(event: ConsumedEvent) -> type[ConsumedEvent] | OrderStatus:
    return event.status if isinstance(event, OrderEvent) else type(event)


def _why_not_paid(sentence: str, message: str) -> str:
    """
    The provider's words in one line of at most 200 printable characters: they are a stranger's.
    """
    shown = "".join(each if each.isprintable() else " " for each in message[: 4 * WORDS_LENGTH_MAX])
    words = " ".join(shown.split())[:WORDS_LENGTH_MAX].rstrip(" .")
    return f"{sentence}: {words}." if words else f"{sentence}."


def _why_cancelled(reason: str | None) -> str:
    why = _CANCEL_REASONS.get(reason or "", "It was cancelled")
    return f"{why}. If you have paid, your money goes back to you."


_WORDS: Mapping[type[ConsumedEvent] | OrderStatus, tuple[Kind, str, str]] = {
    OrderCreated: (Kind.ORDER_CREATED, "was received", "Thank you: we have your order."),
    PaymentSucceeded: (Kind.PAYMENT_SUCCEEDED, "is paid", "Your payment has arrived. Thank you."),
    PaymentFailed: (Kind.PAYMENT_FAILED, "could not be paid", "Nothing was charged"),
    PaymentRefunded: (
        Kind.PAYMENT_REFUNDED,
        "is refunded",
        "Your money is on its way back to you.",
    ),
    StockRejected: (
        Kind.STOCK_REJECTED,
        "is out of stock",
        "We are sorry: we do not have all of it.",
    ),
    OrderStatus.SHIPPED: (Kind.ORDER_SHIPPED, "is on its way", "Your order has left our house."),
    OrderStatus.DELIVERED: (
        Kind.ORDER_DELIVERED,
        "was delivered",
        "Your order has reached you. Enjoy it.",
    ),
    OrderStatus.CANCELLED: (Kind.ORDER_CANCELLED, "is cancelled", ""),
}
_CANCEL_REASONS: Mapping[str, str] = {
    CancelReason.CUSTOMER: "It was cancelled, as you wished",
    CancelReason.OUT_OF_STOCK: "It was cancelled, because we do not have all of it",
    CancelReason.PAYMENT_DEADLINE: "It was cancelled, because no payment came",
    CancelReason.STOCK_DEADLINE: "It was cancelled, because we could not find your goods in time",
    CancelReason.OPERATOR: "It was cancelled by our staff",
}
