"""The topics: name, key, promise and the events that belong on each. `orderflow topics apply` makes them so."""

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
from orderflow.messaging.kafka.group_topics import group_topics, replay_topic
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

GROUPS: dict[str, tuple[Topic, ...]] = {
    "payment-service": (ORDERS,),
    "inventory-service": (ORDERS, PAYMENTS),
    "order-service": (PAYMENTS, INVENTORY),
    "notification-service": (ORDERS, PAYMENTS, INVENTORY, ORDER_EVENTS),
    "order-processor": (ORDER_EVENTS,),
    "analytics-service": (ORDER_EVENTS,),
}
"""Who hears what. Each pair has a topic for dead letters, and one by which they are sent back to that group alone."""


def subscribed(group: str) -> tuple[str, ...]:
    """Names of all topics that a group reads: those it hears, and those by which its dead letters come back."""
    return tuple(
        name for topic in GROUPS[group] for name in (topic.name, replay_topic(topic, group).name)
    )


TOPICS: tuple[Topic, ...] = (
    ORDERS,
    ORDER_EVENTS,
    PAYMENTS,
    INVENTORY,
    NOTIFICATIONS,
    RELAY_POSITIONS,
    *(topic for group, topics in GROUPS.items() for topic in group_topics(topics, group)),
    DEAD_LETTER_DISPOSITIONS,
)

TYPES_BY_TOPIC: dict[str, tuple[str, ...]] = {
    topic.name: topic.types for topic in TOPICS if topic.types
}
