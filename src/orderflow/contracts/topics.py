"""
The topics: name, key, retention and the events that belong on each.

`orderflow topics apply` makes them so, with those of each group's dead letters: see `roster`.
"""

from datetime import timedelta

from orderflow.contracts.events import (
    Envelope,
    NotificationFailed,
    NotificationSent,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderShipped,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.messaging.kafka.topics import Cleanup, Topic

DAYS_7 = timedelta(days=7)
DAYS_30 = timedelta(days=30)


def _topic(name: str, retention: timedelta, *events: type[Envelope], key: str = "orderId") -> Topic:
    return Topic(
        name=name, key=key, retention=retention, types=tuple(event.type_name() for event in events)
    )


ORDERS = _topic("orders", DAYS_7, OrderCreated, PaymentRequested, OrderCancelled, OrderShipped)
ORDER_EVENTS = _topic("order-events", DAYS_30, OrderEvent)
PAYMENTS = _topic("payments", DAYS_7, PaymentSucceeded, PaymentFailed, PaymentRefunded)
INVENTORY = _topic("inventory", DAYS_7, StockReserved, StockRejected, StockReleased)
NOTIFICATIONS = _topic(
    "notifications", DAYS_7, NotificationSent, NotificationFailed, key="customerId"
)
RELAY_POSITIONS = Topic(
    name="relay-positions", key="none: it holds offsets, no records", retention=DAYS_7, partitions=1
)
DEAD_LETTER_DISPOSITIONS = Topic(
    name="dead-letter-dispositions",
    key="<dead-letter topic>/<partition>/<offset>",
    retention=None,
    partitions=1,
    cleanup=Cleanup.COMPACT,
)
