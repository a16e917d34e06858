"""
What facts and commands do to an order, as revisions. Pure.

`model.allowed_actions` is the table of commands. `payments` and `inventory` are separate topics, so
their facts come in either order, late, or again. Therefore a fact is recorded first, in every
status, and moves its own column only up; a fact that moves nothing changes nothing. Then the rules
run until none applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from orderflow.contracts.events import (
    CancelReason,
    OrderStatus,
    PaymentFailed,
    PaymentMode,
    PaymentRefunded,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import payment_id
from orderflow.messaging.errors import OrderflowError, Poison
from orderflow.services.order.model import (
    Action,
    Order,
    Payment,
    PaymentState,
    StockState,
    WaitingFor,
    allowed_actions,
    revised,
    waiting_for,
)

Fact = (
    PaymentSucceeded
    | PaymentFailed
    | PaymentRefunded
    | StockReserved
    | StockRejected
    | StockReleased
)


MESSAGE_LENGTH_MAX = 200
"""Characters of a provider's message that an order keeps and shows."""


class NotAllowed(OrderflowError):
    """The order's status does not allow the command. Raised for commands only, never for facts."""

    def __init__(self, order: Order, action: Action) -> None:
        super().__init__(
            f"order {order.order_id} is {order.status}: {action} is not among its allowed actions"
        )
        self.order = order


class NothingToRetry(OrderflowError):
    """The order waits for nothing that a repeated event would bring."""

    def __init__(self, order: Order, why: str) -> None:
        super().__init__(f"order {order.order_id} is {order.status}: {why}")
        self.order = order


class StockNotSettled(OrderflowError):
    """The order is paid, and inventory has not answered yet: repeat the command in a moment."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"order {order.order_id} is PAID, and its stock is not settled yet")
        self.order = order


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """
    One revision of an order: a recorded fact or note, or a change of status.

    `reason`: why the order was cancelled, if this change cancelled it.
    """

    before: Order
    after: Order
    description: str
    reason: CancelReason | None = None

    @property
    def is_of_status(self) -> bool:
        """Whether the status changed: then the version is a new one."""
        return self.after.version > self.before.version


def settles(change: Change) -> bool:
    """
    Whether with this change the order has its answer: nobody's system is awaited any more, but at
    most people, or what is owed after a cancellation.

    Of orders that pay at once, at their first attempt: all others have waited for people before.
    """
    order = change.after
    pays_at_once = order.payment_mode is PaymentMode.AUTOMATIC and order.payment.attempt == 1
    return pays_at_once and _is_awaited(change.before) and not _is_awaited(order)


def _is_awaited(order: Order) -> bool:
    return waiting_for(order) in (WaitingFor.PAYMENT, WaitingFor.STOCK)


def on_fact(order: Order, fact: Fact, *, now: datetime) -> list[Change]:
    """
    The revisions that `fact` makes: none if it moves nothing.

    Raises Poison if the fact's payment id is not the one of that attempt.
    """
    moved = _with_fact(order, fact)
    if moved is None:
        return []
    change = _revised(order, moved, _words(fact), now=now)
    return [change, *_status_changes(change.after, now=now)]


def pay(order: Order, *, payment_method: str, now: datetime) -> Change:
    """
    Request the next payment attempt.

    Raises NotAllowed while an attempt is under way, after one succeeded, or after five.
    """
    _demand(order, Action.PAY)
    attempt = order.payment.attempt + 1
    payment = Payment(
        attempt=attempt,
        state=PaymentState.REQUESTED,
        payment_id=payment_id(order.order_id, attempt),
    )

    after = msgspec.structs.replace(order, payment=payment, payment_method=payment_method)
    return _revised(order, after, f"Payment was asked for, attempt {attempt}", now=now)


def ship(order: Order, *, now: datetime) -> Change:
    """Ship now. Raises StockNotSettled if only inventory's answer is missing, else NotAllowed."""
    if is_unsettled(order):
        raise StockNotSettled(order)
    _demand(order, Action.SHIP)
    return _shipped(order, now)


def ship_when_reserved(order: Order, *, now: datetime) -> Change | None:
    """
    Record that the order ships once its stock is reserved; None if that was recorded before.

    Ships now, as `ship`, if inventory has answered already.
    """
    if not is_unsettled(order):
        return ship(order, now=now)
    if order.ship_when_reserved:
        return None
    after = msgspec.structs.replace(order, ship_when_reserved=True)
    return _revised(order, after, "Shipping was asked for: it waits for stock", now=now)


def deliver(order: Order, *, now: datetime) -> Change:
    """Mark the order delivered. Raises NotAllowed unless it is shipped."""
    _demand(order, Action.DELIVER)
    return _to(order, OrderStatus.DELIVERED, "Order has been delivered", now=now)


def cancel(order: Order, *, reason: CancelReason, now: datetime) -> Change:
    """Cancel the order. Raises NotAllowed once it is shipped, delivered or cancelled."""
    _demand(order, Action.CANCEL)
    return _cancelled(order, reason=reason, now=now)


def with_note(order: Order, description: str, *, now: datetime) -> Change:
    """A revision that changes nothing and adds `description` to the history."""
    return _revised(order, order, description, now=now)


def demand_retry(order: Order) -> WaitingFor:
    """The fact that a repeated event of this order may bring. Raises NothingToRetry."""
    awaited = waiting_for(order)
    if awaited not in _FACTS_AWAITED:
        raise NothingToRetry(
            order, f"it waits for {awaited.lower()}" if awaited else "it waits for nothing"
        )
    return awaited


def is_unsettled(order: Order) -> bool:
    """Whether the order is paid, and inventory has not answered yet."""
    return order.status is OrderStatus.PAID and order.stock is StockState.NONE


def is_payment_settled(order: Order, attempt: int) -> bool:
    """
    Whether a client that requested this attempt has nothing more to wait for.

    The attempt failed, or the order is paid and inventory has answered, or it is cancelled.
    """
    if order.status is OrderStatus.CREATED:
        return order.payment.attempt > attempt or order.payment.state is PaymentState.FAILED
    return not is_unsettled(order)


def _demand(order: Order, action: Action) -> None:
    if action not in allowed_actions(order):
        raise NotAllowed(order, action)


def _with_fact(order: Order, fact: Fact) -> Order | None:
    """The order with the fact in its column; None if the column has that value or a later one."""
    if isinstance(fact, StockReserved | StockRejected | StockReleased):
        stock = _STOCK[type(fact)]
        moves = (order.stock, stock) in _STOCK_MOVES
        return msgspec.structs.replace(order, stock=stock) if moves else None

    expected_id = payment_id(order.order_id, fact.attempt)
    if fact.payment_id != expected_id:
        raise Poison(
            f"order {order.order_id}, attempt {fact.attempt}: "
            f"its payment is {expected_id}, not {fact.payment_id}"
        )

    # Attempt first: a late fact of an earlier attempt never hides what a later attempt did.
    payment = Payment(attempt=fact.attempt, state=_PAYMENT[type(fact)], payment_id=fact.payment_id)
    if isinstance(fact, PaymentFailed):
        message = fact.message[:MESSAGE_LENGTH_MAX]
        payment = msgspec.structs.replace(payment, reason=fact.reason, message=message)
    higher = (payment.attempt, _RANK[payment.state]) > (
        order.payment.attempt,
        _RANK[order.payment.state],
    )
    return msgspec.structs.replace(order, payment=payment) if higher else None


def _status_changes(order: Order, *, now: datetime) -> Iterator[Change]:
    """Apply the first rule that applies, again and again until none does."""
    while change := next((rule(order, now) for applies, rule in _RULES if applies(order)), None):
        yield change
        order = change.after


def _is_paid(order: Order) -> bool:
    return order.status is OrderStatus.CREATED and order.payment.state is PaymentState.SUCCEEDED


def _is_out_of_stock(order: Order) -> bool:
    return order.status is OrderStatus.PAID and order.stock is StockState.REJECTED


def _is_to_be_shipped(order: Order) -> bool:
    return order.ship_when_reserved and Action.SHIP in allowed_actions(order)


def _paid(order: Order, now: datetime) -> Change:
    return _to(order, OrderStatus.PAID, "Order has been paid", now=now)


def _out_of_stock(order: Order, now: datetime) -> Change:
    return _cancelled(order, reason=CancelReason.OUT_OF_STOCK, now=now)


def _shipped(order: Order, now: datetime) -> Change:
    return _to(order, OrderStatus.SHIPPED, "Order has been shipped", now=now)


_RULES: tuple[tuple[Callable[[Order], bool], Callable[[Order, datetime], Change]], ...] = (
    (_is_paid, _paid),
    (_is_out_of_stock, _out_of_stock),
    (_is_to_be_shipped, _shipped),
)


def _cancelled(order: Order, *, reason: CancelReason, now: datetime) -> Change:
    return _to(
        order,
        OrderStatus.CANCELLED,
        f"Order has been cancelled: {_WHY[reason]}",
        now=now,
        reason=reason,
    )


def _revised(order: Order, changed: Order, description: str, *, now: datetime) -> Change:
    return Change(before=order, after=revised(order, changed, now=now), description=description)


def _to(
    order: Order,
    status: OrderStatus,
    description: str,
    *,
    now: datetime,
    reason: CancelReason | None = None,
) -> Change:
    after = revised(
        order, msgspec.structs.replace(order, status=status, version=order.version + 1), now=now
    )
    return Change(before=order, after=after, description=description, reason=reason)


def _words(fact: Fact) -> str:
    words = _WORDS[type(fact)]
    if isinstance(fact, PaymentFailed) and fact.message:
        return f"{words}: {fact.message[:MESSAGE_LENGTH_MAX]}"
    return words


_FACTS_AWAITED = (
    WaitingFor.PAYMENT,
    WaitingFor.STOCK,
    WaitingFor.REFUND,
    WaitingFor.RELEASE,
)
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
