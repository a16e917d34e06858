"""
In which order a customer is told what became of one order. Pure.

The facts come on four topics, and any of them may be behind. So each fact has a rank in the order's
story, and names a kind of fact that happened before it for certain, because it caused this one. A
fact is told when that is known; until then it is HELD. What is told of an order only ever goes up
in rank: a fact that comes when a later one has been told is overtaken, and is not told any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from orderflow.contracts.events import (
    CancelReason,
    OrderEvent,
    OrderStatus,
    PaymentFailed,
    PaymentFailureReason,
    PaymentSucceeded,
)
from orderflow.contracts.ids import NotificationId
from orderflow.services.notification.model import ConsumedEvent, Kind, NotificationState

_OF_ATTEMPT = 10
"""Ranks of one payment attempt: a failure, then a success."""
_AFTER_PAYMENTS = 1_000_000
"""Above the ranks of all payment attempts: an attempt is a small number on the wire."""

_RANKS = {
    Kind.ORDER_CREATED: 0,
    Kind.STOCK_REJECTED: _AFTER_PAYMENTS,
    Kind.ORDER_SHIPPED: _AFTER_PAYMENTS + 1,
    Kind.ORDER_CANCELLED: _AFTER_PAYMENTS + 2,
    Kind.ORDER_DELIVERED: _AFTER_PAYMENTS + 3,
    Kind.PAYMENT_REFUNDED: _AFTER_PAYMENTS + 4,
}


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """
    A notification's place in the story of its order.

    `follows`: a kind of which a fact happened before it for certain; None for the first of all.
    """

    notification_id: NotificationId
    kind: Kind
    rank: int
    follows: Kind | None
    state: NotificationState


class Telling(msgspec.Struct, frozen=True):
    """What is decided about new and held facts, in the order in which they are to be told."""

    pending: tuple[NotificationId, ...]
    overtaken: tuple[NotificationId, ...]
    held: tuple[NotificationId, ...]


def place_of(event: ConsumedEvent, kind: Kind) -> tuple[int, Kind | None]:
    """The rank of an event in its order's story, and the kind that it follows."""
    rank, follows = _RANKS.get(kind, 0), _FOLLOWS.get(kind)

    match event:
        case PaymentFailed(reason=PaymentFailureReason.ORDER_CANCELLED):
            # Refused because of the cancellation: so it is told where a refund would be.
            rank, follows = _RANKS[Kind.PAYMENT_REFUNDED], Kind.ORDER_CANCELLED
        case PaymentFailed():
            rank = _OF_ATTEMPT * event.attempt
        case PaymentSucceeded():
            rank = _OF_ATTEMPT * event.attempt + 1
            # There is a second attempt only because the first one failed.
            follows = Kind.PAYMENT_FAILED if event.attempt > 1 else follows
        case OrderEvent(status=OrderStatus.CANCELLED):
            follows = _before_cancellation(event)
    return rank, follows


def tell(known: Iterable[Fact], *, released: Collection[NotificationId] = ()) -> Telling:
    """
    Decide about all HELD facts of one order; `known` are all its facts, in any order.

    `released`: facts that need not wait any longer, because what they follow can't come any more.
    Whatever is held before them in the story is told first.
    """
    facts = sorted(known, key=lambda fact: fact.rank)
    noted = {fact.kind for fact in facts if fact.state is not NotificationState.HELD}
    last = max((fact.rank for fact in facts if fact.state in _TOLD), default=-1)
    until = max((fact.rank for fact in facts if fact.notification_id in released), default=-1)

    pending, overtaken, held = [], [], []
    for fact in facts:
        if fact.state is not NotificationState.HELD:
            continue

        if fact.rank <= last:
            overtaken.append(fact.notification_id)
        elif fact.rank <= until or fact.follows is None or fact.follows in noted:
            pending.append(fact.notification_id)
            last = fact.rank
        else:
            held.append(fact.notification_id)
            continue
        noted.add(fact.kind)
    return Telling(tuple(pending), tuple(overtaken), tuple(held))


def _before_cancellation(event: OrderEvent) -> Kind:
    if event.reason == CancelReason.OUT_OF_STOCK:
        return Kind.STOCK_REJECTED
    if event.previous_status is OrderStatus.PAID:
        return Kind.PAYMENT_SUCCEEDED
    return Kind.ORDER_CREATED


_FOLLOWS: dict[Kind, Kind] = {
    Kind.PAYMENT_FAILED: Kind.ORDER_CREATED,
    Kind.PAYMENT_SUCCEEDED: Kind.ORDER_CREATED,
    Kind.PAYMENT_REFUNDED: Kind.ORDER_CANCELLED,
    Kind.STOCK_REJECTED: Kind.PAYMENT_SUCCEEDED,
    Kind.ORDER_SHIPPED: Kind.PAYMENT_SUCCEEDED,
    Kind.ORDER_DELIVERED: Kind.ORDER_SHIPPED,
}
_TOLD = (NotificationState.PENDING, NotificationState.SENT, NotificationState.FAILED)
