"""What payment listens to, what it handles, and what it publishes."""

from __future__ import annotations

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderCancelled, OrderCreated, PaymentRequested
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.listener import ExactlyOnce, Listener
from orderflow.services.payment.handlers import Payments, announce

LISTENER = Listener(
    name="payment",
    group="payment-service",
    source="/orderflow/payment",
    namespace=NAMESPACE,
    topics=(ORDERS,),
    handles=(OrderCreated, PaymentRequested, OrderCancelled),
    publishes=(PAYMENTS,),
    delivery=ExactlyOnce(handler=announce),
)
"""As documents show it. It runs `with_payments`, which call the provider before `announce`."""


def with_payments(payments: Payments, *, calls_max: int) -> Listener:
    """The listener as it runs, with at most `calls_max` calls of the provider at a time."""
    delivery = ExactlyOnce(
        handler=announce,
        prepare=payments,
        look_ahead=payments.look_ahead,
        calls_max=calls_max,
    )
    return msgspec.structs.replace(LISTENER, delivery=delivery)
