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
    PaymentRefunded,
    PaymentRequested,
)
from orderflow.services.payment import model
from orderflow.services.payment.model import (
    AnotherPaymentStands,
    Closing,
    OrderAccount,
    Payment,
    PaymentState,
    Refund,
    RefundState,
    Repeated,
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

    events: tuple[Event | Repeated, ...] = ()


class Wait(msgspec.Struct, frozen=True):
    """Another payment of the order is open: this record's turn comes when that one has ended."""


class ClosedOrder(msgspec.Struct, frozen=True):
    """
    The order is closed by this cancellation; `cause` is the id of its event. `ahead`: see
    `model.Closing`.
    """

    cancelled: OrderCancelled
    cause: str
    ahead: bool = False


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
    requested = model.requested_payment(event, cause=cause, now=now)
    return _charge(requested, account, cause=cause, now=now)


def account_after(decision: Decision, account: OrderAccount) -> OrderAccount:
    """
    The account once the decision is written. The next record of the order is decided from it, also
    when both are in one batch.
    """
    closing, payments = account.closing, {each.attempt: each for each in account.payments}
    if (closed := decision.closed_order) is not None:
        closing = closing or Closing(closed.cause, closed.cancelled.reason)
        closing = msgspec.structs.replace(closing, ahead=closed.ahead)

    if (payment := decision.payment) is not None:
        payments[payment.attempt] = payment
    if decision.refund is not None:
        payment, refund = decision.refund
        payments[payment.attempt] = model.with_refund(payments[payment.attempt], refund)
    return OrderAccount(closing, tuple(payments[attempt] for attempt in sorted(payments)))


def _charge(requested: Payment, account: OrderAccount, *, cause: str, now: datetime) -> Decision:
    if (recorded := account.payment(requested.attempt)) is not None:
        return _continue(recorded, account, cause=cause, now=now)
    if account.closed:
        return _refuse(requested, cause=cause, now=now)
    if (other := account.live) is not None:
        return _wait_for(other, requested)

    if requested.amount_minor == 0:
        free = model.captured(requested, None, cause=cause, now=now)
        return Decision(Announce((model.outcome_event(free),)), payment=free)
    return Decision(ChargePayment(requested, sent_before=False), payment=requested)


def _continue(recorded: Payment, account: OrderAccount, *, cause: str, now: datetime) -> Decision:
    """The payment exists already. Its row counts, not what the event contains."""
    closing = account.closing
    if not recorded.settled:
        return Decision(
            ChargePayment(recorded, sent_before=True) if closing is None else VoidPayment(recorded)
        )
    if closing is None or recorded.state is PaymentState.FAILED:
        return Decision(_answer(recorded, cause))
    return _owe(recorded, closing, cause=cause, now=now)


def _answer(recorded: Payment, cause: str) -> Announce:
    """
    What the record of event `cause` announces of a settled payment.

    To somebody who asks for it anew, under another id, all that is recorded is announced again.
    """
    if cause in (recorded.requested_by, recorded.settled_by):
        return Announce(model.announcements((recorded,), cause))
    return Announce(model.repetitions((recorded,)))


def _owe(recorded: Payment, closing: Closing, *, cause: str, now: datetime) -> Decision:
    """
    The order is closed, and this payment of it was captured: what was taken is given back, whoever
    finds it. The refund is recorded together with what shows that it is due.
    """
    refund = recorded.refund
    if refund is None and closing.ahead:
        refund = model.requested_refund(recorded, closing.reason, cause=closing.by, now=now)
        return Decision(_answer(recorded, cause), refund=(recorded, refund))
    if refund is None:
        refund = model.requested_refund(recorded, closing.reason, cause=cause, now=now)
        return Decision(_refund_or_announce(recorded, refund, cause), refund=(recorded, refund))

    if refund.state is RefundState.REQUESTED and refund.created_by == cause:
        return Decision(RefundPayment(recorded, refund, sent_before=True))
    return Decision(_answer(recorded, cause))


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
        return Decision(Wait())
    raise AnotherPaymentStands(
        f"order {requested.order_id}: attempt {requested.attempt} is not charged,"
        f" attempt {other.attempt} was captured"
    )


def _cancel(event: OrderCancelled, account: OrderAccount, *, cause: str, now: datetime) -> Decision:
    """Close the order; settle an open payment first, then refund what was captured."""
    closing, live = account.closing, account.live
    known = closing is not None and not closing.ahead
    closed_order = None if known else ClosedOrder(event, cause)

    if live is not None:
        if not live.settled:
            return Decision(VoidPayment(live), closed_order=closed_order)
        if live.refund is None:
            refund = model.requested_refund(live, event.reason, cause=cause, now=now)
            then = _refund_or_announce(live, refund, cause)
            return Decision(then, refund=(live, refund), closed_order=closed_order)
        if live.refund.state is RefundState.REQUESTED:
            task = RefundPayment(live, live.refund, sent_before=True)
            return Decision(task, closed_order=closed_order)

    # Nothing was captured, or all of it is refunded.
    return Decision(_answer_to_cancel(account, cause), closed_order=closed_order)


def _answer_to_cancel(account: OrderAccount, cause: str) -> Announce:
    """A cancellation of a closed order under another id asks anew: it is told all there is."""
    closing = account.closing
    if closing is not None and closing.by != cause:
        return Announce(model.repetitions(account.payments))
    of_others = (
        again
        for again in model.repetitions(account.payments)
        if isinstance(again.event, PaymentRefunded) and again.cause != cause
    )
    return Announce((*model.announcements(account.payments, cause), *of_others))


def _refund_or_announce(payment: Payment, refund: Refund, cause: str) -> Announce | RefundPayment:
    """A total of zero is refunded once that is recorded: there is nothing to send."""
    if refund.state is RefundState.REQUESTED:
        return RefundPayment(payment, refund, sent_before=False)
    return Announce(model.announcements((model.with_refund(payment, refund),), cause))
