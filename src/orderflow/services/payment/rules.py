"""
The rules: what happens to an order's payments because of one event.

`decide` is a pure function of the event and of what is recorded. It runs again after a crash, a
replay and every answer of the provider, and then decides from what has been recorded since: so the
recorded rows, not the event, say what was done already.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from orderflow.contracts.events import (
    Event,
    OrderCancelled,
    OrderCreated,
    PaymentFailureReason,
    PaymentRequested,
)
from orderflow.services.payment import model
from orderflow.services.payment.model import (
    AnotherPaymentStands,
    OrderAccount,
    Payment,
    Refund,
    RefundState,
)

CANCELLED_BEFORE_CHARGE = "the order was cancelled before it was charged"

ConsumedEvent = OrderCreated | PaymentRequested | OrderCancelled


class ChargePayment(msgspec.Struct, frozen=True):
    """Take the money. `sent_before`: an earlier run may have sent the charge already."""

    payment: Payment
    sent_before: bool


class VoidPayment(msgspec.Struct, frozen=True):
    """The order is closed: make sure that the payment is either captured or never will be."""

    payment: Payment


class RefundPayment(msgspec.Struct, frozen=True):
    """Give the money back. `sent_before`: an earlier run may have sent the refund already."""

    payment: Payment
    refund: Refund
    sent_before: bool


ProviderTask = ChargePayment | VoidPayment | RefundPayment


class Announce(msgspec.Struct, frozen=True):
    """Nothing is left to do: this record announces these events, if any."""

    events: tuple[Event, ...] = ()


class Wait(msgspec.Struct, frozen=True):
    """Another payment of the order is open. `since`: when that payment was requested."""

    since: datetime


class ClosedOrder(msgspec.Struct, frozen=True):
    """The order is closed by this cancellation; `cause` is the id of its event."""

    cancelled: OrderCancelled
    cause: str


class Decision(msgspec.Struct, frozen=True):
    """What to write, in one database transaction, and what to do once that has committed."""

    then: Announce | ProviderTask | Wait
    payment: Payment | None = None
    refund: tuple[Payment, Refund] | None = None
    closed_order: ClosedOrder | None = None


def asks_for_payment(event: ConsumedEvent) -> bool:
    """False for the creation of an order that is paid on request: there is nothing to decide."""
    return not isinstance(event, OrderCreated) or event.payment_id is not None


def decide(event: ConsumedEvent, account: OrderAccount, *, cause: str, now: datetime) -> Decision:
    """
    Decide about one event. `cause` is its event id.

    Raises AnotherPaymentStands when another attempt was captured, Poison when the event's payment
    id is not its own.
    """
    if isinstance(event, OrderCancelled):
        return _cancel(event, account, cause=cause, now=now)
    return _charge(model.requested_payment(event, now=now), account, cause=cause, now=now)


def _charge(requested: Payment, account: OrderAccount, *, cause: str, now: datetime) -> Decision:
    if (recorded := account.payment(requested.attempt)) is not None:
        return _continue(recorded, account, cause=cause)
    if account.closed:
        return _refuse(requested, cause=cause, now=now)
    if (other := account.live) is not None:
        return _wait_for(other, requested)

    if requested.amount_minor == 0:
        free = model.captured(requested, None, cause=cause, now=now)
        return Decision(Announce((model.outcome_event(free),)), payment=free)
    return Decision(ChargePayment(requested, sent_before=False), payment=requested)


def _continue(recorded: Payment, account: OrderAccount, *, cause: str) -> Decision:
    """The payment exists already. Its row counts, not what the event contains."""
    if recorded.settled:
        return Decision(Announce(model.announcements((recorded,), cause)))
    if account.closed:
        return Decision(VoidPayment(recorded))
    return Decision(ChargePayment(recorded, sent_before=True))


def _refuse(requested: Payment, *, cause: str, now: datetime) -> Decision:
    """The cancellation was consumed first. Record the payment as failed: nothing was sent."""
    refused = model.failed(
        requested,
        PaymentFailureReason.ORDER_CANCELLED,
        CANCELLED_BEFORE_CHARGE,
        cause=cause,
        now=now,
    )
    return Decision(Announce((model.outcome_event(refused),)), payment=refused)


def _wait_for(other: Payment, requested: Payment) -> Decision:
    """Another attempt has not failed: wait for its outcome, and never charge beside it."""
    if not other.settled:
        return Decision(Wait(other.created_at))
    raise AnotherPaymentStands(
        f"order {requested.order_id}: attempt {requested.attempt} is not charged,"
        f" attempt {other.attempt} was captured"
    )


def _cancel(event: OrderCancelled, account: OrderAccount, *, cause: str, now: datetime) -> Decision:
    """Close the order; settle an open payment first, then refund what was captured."""
    closed_order = None if account.closed else ClosedOrder(event, cause)
    live = account.live
    if live is not None:
        if not live.settled:
            return Decision(VoidPayment(live), closed_order=closed_order)
        refund = live.refund
        if refund is None:
            return _refund(live, event, closed_order, cause=cause, now=now)
        if refund.state is RefundState.REQUESTED:
            task = RefundPayment(live, refund, sent_before=True)
            return Decision(task, closed_order=closed_order)

    # Nothing was captured, or all of it is refunded.
    announced = model.announcements(account.payments, cause)
    return Decision(Announce(announced), closed_order=closed_order)


def _refund(
    payment: Payment,
    event: OrderCancelled,
    closed_order: ClosedOrder | None,
    *,
    cause: str,
    now: datetime,
) -> Decision:
    refund = model.requested_refund(payment, event.reason, cause=cause, now=now)
    then: Announce | RefundPayment = RefundPayment(payment, refund, sent_before=False)
    if refund.state is RefundState.SUCCEEDED:
        then = Announce(model.announcements((model.with_refund(payment, refund),), cause))
    return Decision(then, refund=(payment, refund), closed_order=closed_order)
