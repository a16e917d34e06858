"""What the order service listens to, what it handles, and what it publishes."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.order.changes import SOURCE
from orderflow.services.order.handlers import on_facts

LISTENER = Listener(
    name="order",
    group="order-service",
    source=SOURCE,
    namespace=NAMESPACE,
    topics=(PAYMENTS, INVENTORY),
    handles=(
        PaymentSucceeded,
        PaymentFailed,
        PaymentRefunded,
        StockReserved,
        StockRejected,
        StockReleased,
    ),
    publishes=(ORDERS, ORDER_EVENTS),
    delivery=InboxOutbox(handler=on_facts),
)
