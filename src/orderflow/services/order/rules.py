"""
What facts and commands do to an order, as revisions. Pure.

`payments` and `inventory` are separate topics, so their facts come in either order, late, or again. Therefore a fact is
recorded before it is judged, in every status, and moves its own column only up; what moves nothing does nothing. Then
the rules run until none fires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from orderflow.contracts.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderEvent,
    OrderStatus,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import payment_id
from orderflow.messaging.errors import OrderflowError, Poison
from orderflow.services.order.model import Action, Order, Payment, PaymentState, StockState, allowed_actions, revised

Fact = PaymentSucceeded | PaymentFailed | PaymentRefunded | StockReserved | StockRejected | StockReleased


class NotAllowed(OrderflowError):
    """The order's status does not allow the command. For commands only, never for facts."""

    def __init__(self, order: Order, action: Action) -> None:
        super().__init__(f"order {order.order_id} is {order.status}: {action} is not among its allowed actions")
        self.order = order


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One revision: a fact that was noted, or, when `before` and `after` differ in version, a change of status."""

    before: Order
    after: Order
    description: str
    reason: CancelReason | None = None

    @property
    def is_of_status(self) -> bool:
        return self.after.version > self.before.version


def on_fact(order: Order, fact: Fact, *, now: datetime) -> list[Change]:
    """The revisions that `fact` makes, none if it moves nothing. Raises Poison if it is not about this order."""
    noted = _noted(order, fact)
    if noted is None:
        return []
    after = revised(order, noted, now=now)
    return [Change(before=order, after=after, description=_WORDS[type(fact)]), *_judged(after, now=now)]


def cancel(order: Order, *, reason: CancelReason, now: datetime) -> Change:
    """Raises NotAllowed once the order has left the house, or is cancelled already."""
    if Action.CANCEL not in allowed_actions(order):
        raise NotAllowed(order, Action.CANCEL)
    return _cancelled(order, reason=reason, now=now)


def events(change: Change) -> tuple[Event, ...]:
    """What a change tells: exactly one OrderEvent for each change of status, and what others act upon."""
    order = change.after
    if not change.is_of_status:
        return ()
    life_cycle = OrderEvent(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        description=change.description,
        timestamp=order.updated_at,
        version=order.version,
        previous_status=change.before.status,
        reason=change.reason,
    )
    if change.reason is None:
        return (life_cycle,)
    cancelled = OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=order.version,
        reason=change.reason,
        description=change.description,
        occurred_at=order.updated_at,
    )
    return (cancelled, life_cycle)


def _noted(order: Order, fact: Fact) -> Order | None:
    """The order with the fact in its column, or None if that is there already, or something later is."""
    if isinstance(fact, StockReserved | StockRejected | StockReleased):
        stock = _STOCK[type(fact)]
        return msgspec.structs.replace(order, stock=stock) if (order.stock, stock) in _STOCK_MOVES else None
    payment = Payment(attempt=fact.attempt, state=_PAYMENT[type(fact)], payment_id=fact.payment_id)
    ours = payment_id(order.order_id, fact.attempt)
    if fact.payment_id != ours:
        raise Poison(f"order {order.order_id}, attempt {fact.attempt}: its payment is {ours}, not {fact.payment_id}")
    higher = (payment.attempt, _RANK[payment.state]) > (order.payment.attempt, _RANK[order.payment.state])
    return msgspec.structs.replace(order, payment=payment) if higher else None


def _judged(order: Order, *, now: datetime) -> Iterator[Change]:
    """Each status change that the recorded facts call for, until there is none."""
    while change := next((rule(order, now) for applies, rule in _RULES if applies(order)), None):
        yield change
        order = change.after


def _is_paid(order: Order) -> bool:
    return order.status is OrderStatus.CREATED and order.payment.state is PaymentState.SUCCEEDED


def _is_out_of_stock(order: Order) -> bool:
    return order.status is OrderStatus.PAID and order.stock is StockState.REJECTED


def _paid(order: Order, now: datetime) -> Change:
    return _to(order, OrderStatus.PAID, "Order has been paid", now=now)


def _out_of_stock(order: Order, now: datetime) -> Change:
    return _cancelled(order, reason=CancelReason.OUT_OF_STOCK, now=now)


_RULES: tuple[tuple[Callable[[Order], bool], Callable[[Order, datetime], Change]], ...] = (
    (_is_paid, _paid),
    (_is_out_of_stock, _out_of_stock),
)


def _cancelled(order: Order, *, reason: CancelReason, now: datetime) -> Change:
    return _to(order, OrderStatus.CANCELLED, f"Order has been cancelled: {_WHY[reason]}", now=now, reason=reason)


def _to(
    order: Order, status: OrderStatus, description: str, *, now: datetime, reason: CancelReason | None = None
) -> Change:
    after = revised(order, msgspec.structs.replace(order, status=status, version=order.version + 1), now=now)
    return Change(before=order, after=after, description=description, reason=reason)


_RANK = {
    PaymentState.NONE: 0,
    PaymentState.REQUESTED: 1,
    PaymentState.FAILED: 2,
    PaymentState.SUCCEEDED: 2,
    PaymentState.REFUNDED: 3,
}
_PAYMENT: dict[type[Any], PaymentState] = {
    PaymentSucceeded: PaymentState.SUCCEEDED,
    PaymentFailed: PaymentState.FAILED,
    PaymentRefunded: PaymentState.REFUNDED,
}
_STOCK: dict[type[Any], StockState] = {
    StockReserved: StockState.RESERVED,
    StockRejected: StockState.REJECTED,
    StockReleased: StockState.RELEASED,
}
_STOCK_MOVES = {
    (StockState.NONE, StockState.RESERVED),
    (StockState.NONE, StockState.REJECTED),
    (StockState.NONE, StockState.RELEASED),
    (StockState.RESERVED, StockState.RELEASED),
}
_WORDS: dict[type[Any], str] = {
    PaymentSucceeded: "Payment succeeded",
    PaymentFailed: "Payment failed",
    PaymentRefunded: "Payment was refunded",
    StockReserved: "Stock is reserved",
    StockRejected: "Stock is short: nothing is reserved",
    StockReleased: "Reserved stock is released",
}
_WHY = {
    CancelReason.CUSTOMER: "the customer asked for it",
    CancelReason.OUT_OF_STOCK: "out of stock",
    CancelReason.PAYMENT_DEADLINE: "it was not paid in time",
    CancelReason.STOCK_DEADLINE: "stock was not reserved in time",
    CancelReason.OPERATOR: "by an operator",
}
