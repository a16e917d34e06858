"""What notification listens to, and what its sender publishes once a message has an outcome."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    OrderCreated,
    OrderEvent,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    StockRejected,
)
from orderflow.contracts.topics import INVENTORY, NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.notification.handlers import SOURCE, add_notifications
from orderflow.services.notification.model import is_told
from orderflow.services.notification.traces import GROUP

LISTENER = Listener(
    name="notification",
    group=GROUP,
    source=SOURCE,
    namespace=NAMESPACE,
    topics=(ORDERS, PAYMENTS, INVENTORY, ORDER_EVENTS),
    handles=(
        OrderCreated,
        PaymentSucceeded,
        PaymentFailed,
        PaymentRefunded,
        StockRejected,
        OrderEvent,
    ),
    wanted=is_told,
    publishes=(NOTIFICATIONS,),
    delivery=InboxOutbox(handler=add_notifications),
)
