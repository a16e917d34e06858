"""
The events that a change of an order publishes. Pure.

Each change of status publishes exactly one OrderEvent; a change that other services act upon
publishes PaymentRequested, OrderCancelled or OrderShipped too.
"""

from __future__ import annotations

from orderflow.contracts.events import (
    Event,
    OrderCancelled,
    OrderEvent,
    OrderShipped,
    OrderStatus,
    PaymentRequested,
)
from orderflow.services.order.model import Order, PaymentState
from orderflow.services.order.rules import Change


def events(change: Change) -> tuple[Event, ...]:
    """The events that a change publishes: what other services act upon, then its OrderEvent."""
    candidates = (
        _payment_requested(change),
        _order_cancelled(change),
        _order_shipped(change),
        _order_event(change),
    )
    return tuple(event for event in candidates if event is not None)


def _order_event(change: Change) -> OrderEvent | None:
    order = change.after
    if not change.is_of_status:
        return None

    return OrderEvent(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        description=change.description,
        timestamp=order.updated_at,
        version=order.version,
        previous_status=change.before.status,
        reason=change.reason,
    )


def _payment_requested(change: Change) -> PaymentRequested | None:
    order, payment = change.after, change.after.payment
    if (
        payment.state is not PaymentState.REQUESTED
        or payment.attempt == change.before.payment.attempt
    ):
        return None
    return payment_request(order)


def payment_request(order: Order) -> PaymentRequested:
    """The event that requests the order's current payment attempt."""
    payment = order.payment
    assert payment.payment_id is not None
    assert order.payment_method is not None

    return PaymentRequested(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=payment.attempt,
        payment_id=payment.payment_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_method=order.payment_method,
        lines=order.lines,
        occurred_at=order.updated_at,
    )


def _order_cancelled(change: Change) -> OrderCancelled | None:
    order = change.after
    if change.reason is None:
        return None
    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=order.version,
        reason=change.reason,
        description=change.description,
        occurred_at=order.updated_at,
    )


def _order_shipped(change: Change) -> OrderShipped | None:
    order = change.after
    if not change.is_of_status or order.status is not OrderStatus.SHIPPED:
        return None
    return OrderShipped(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=order.version,
        occurred_at=order.updated_at,
    )
