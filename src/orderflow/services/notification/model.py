"""
What customers are told, in which words, and how their messages are counted; without a driver in sight.

A delivery is PENDING until the channel has taken it (SENT) or refused it for good (FAILED). Either takes the customer's
next number, so that the numbers have no gap; PENDING has none, and whatever comes later for that customer waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
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

Heard = (
    OrderCreated | PaymentSucceeded | PaymentFailed | PaymentRefunded | StockRejected | OrderEvent
)
Told = NotificationSent | NotificationFailed


class Kind(StrEnum):
    ORDER_CREATED = "ORDER_CREATED"
    PAYMENT_SUCCEEDED = "PAYMENT_SUCCEEDED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    PAYMENT_REFUNDED = "PAYMENT_REFUNDED"
    STOCK_REJECTED = "STOCK_REJECTED"
    ORDER_SHIPPED = "ORDER_SHIPPED"
    ORDER_DELIVERED = "ORDER_DELIVERED"
    ORDER_CANCELLED = "ORDER_CANCELLED"


class State(StrEnum):
    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    subject: str
    text: str


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it waits to be sent. `attempts`: how often that was tried so far."""

    notification_id: NotificationId
    customer_id: CustomerId
    order_id: OrderId
    kind: Kind
    subject: str
    text: str
    noted_at: datetime
    cause_id: EventId
    cause_type: str
    correlation_id: str
    traceparent: str | None
    tracestate: str | None
    attempts: int


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """The channel has taken it, or refused it for good: then `refusal` has its words."""

    letter: Letter
    at: datetime
    refusal: str | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Not now, said the channel, or nothing at all: it, and all behind it, must wait."""

    letter: Letter
    reason: str


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one customer's messages, in their order: the first ones settled, the next one perhaps held."""

    customer_id: CustomerId
    settled: tuple[Settled, ...] = ()
    held: Held | None = None


class Numbered(msgspec.Struct, frozen=True):
    """A settled message with its number, as the event that tells of it."""

    letter: Letter
    event: Told


def number(
    rounds: Sequence[Round],
    *,
    sequences: Mapping[CustomerId, int],
    pending: Collection[NotificationId],
) -> list[Numbered]:
    """
    Give each customer's settled messages the numbers after `sequences`; those no longer `pending` have theirs already.

    Both as they are while the customers' rows are locked.
    """
    last, left = dict(sequences), set(pending)
    numbered: list[Numbered] = []
    for settled in (one for found in rounds for one in found.settled):
        letter = settled.letter
        if letter.notification_id in left:
            left.discard(letter.notification_id)
            last[letter.customer_id] += 1
            numbered.append(Numbered(letter, _told(settled, last[letter.customer_id])))
    return numbered


def _told(settled: Settled, sequence: int) -> Told:
    letter = settled.letter
    sent = NotificationSent(
        notification_id=letter.notification_id,
        customer_id=letter.customer_id,
        sequence=sequence,
        order_id=letter.order_id,
        kind=letter.kind,
        channel=CHANNEL,
        cause_id=str(letter.cause_id),
        cause_type=letter.cause_type,
        occurred_at=settled.at,
    )
    if settled.refusal is None:
        return sent
    return NotificationFailed(
        **msgspec.structs.asdict(sent), reason=settled.refusal, attempts=letter.attempts + 1
    )


def rest_s(came_of: Round, *, most: float) -> float:
    """
    How long its customer rests: held ones 1 s after the first attempt, doubled each time, up to `most`.

    One whose turn did not come before the time was over is first the next time.
    """
    if came_of.held is not None:
        return min(most, 2.0 ** min(came_of.held.letter.attempts, 30))
    return 0.0 if came_of.settled else OVERTAKE_S


def wording(event: Heard) -> Wording | None:
    """What its customer is told of `event`; None: nothing."""
    said = _SAID.get(event.status if isinstance(event, OrderEvent) else type(event))
    if said is None:
        return None
    kind, headline, sentence = said
    match event:
        case PaymentFailed():
            sentence = f"{sentence}: {event.message}."
        case OrderEvent(status=OrderStatus.CANCELLED):
            sentence = _cancelled(event.reason)
    return Wording(
        kind=kind,
        subject=f"Your order {event.order_id} {headline}",
        text=f"Hello,\n\n{sentence}\n\nOrderflow\n",
    )


def _cancelled(reason: str | None) -> str:
    why = _WHY.get(reason or "", "It was cancelled")
    return f"{why}. If you have paid, your money goes back to you."


_SAID: Mapping[type[Heard] | OrderStatus, tuple[Kind, str, str]] = {
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
_WHY: Mapping[str, str] = {
    CancelReason.CUSTOMER: "It was cancelled, as you wished",
    CancelReason.OUT_OF_STOCK: "It was cancelled, because we do not have all of it",
    CancelReason.PAYMENT_DEADLINE: "It was cancelled, because no payment came",
    CancelReason.STOCK_DEADLINE: "It was cancelled, because we could not find your goods in time",
    CancelReason.OPERATOR: "It was cancelled by our staff",
}
