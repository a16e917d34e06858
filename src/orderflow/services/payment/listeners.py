"""The table: what payment hears, what it does then, what it says."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderCancelled, OrderCreated, PaymentRequested
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.listener import ExactlyOnce, Listener
from orderflow.services.payment.handlers import Payments, announce


def listener(payments: Payments, *, calls_max: int) -> Listener:
    return Listener(
        name="payment",
        group="payment-service",
        source="/orderflow/payment",
        namespace=NAMESPACE,
        topics=(ORDERS,),
        handles=(OrderCreated, PaymentRequested, OrderCancelled),
        publishes=(PAYMENTS,),
        delivery=ExactlyOnce(handler=announce, prepare=payments, calls_max=calls_max),
    )
