"""
The topics: name, key, retention and the events that belong on each.

`orderflow topics apply` makes them so, with those of each group's dead letters: see `roster`.
"""

from datetime import timedelta

from orderflow.contracts.events import (
    CustomerRevenueChange,
    Envelope,
    HourRevenueChange,
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
    RevenueByCustomer,
    RevenueByHour,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.messaging.kafka.topics import Cleanup, Topic

DAYS_7 = timedelta(days=7)
DAYS_30 = timedelta(days=30)


def source_of(service: str) -> str:
    """The `ce_source` of what a service publishes."""
    return f"/orderflow/{service}"


def _topic(
    name: str,
    retention: timedelta,
    *events: type[Envelope],
    writer: str,
    key: str = "orderId",
) -> Topic:
    return Topic(
        name=name,
        key=key,
        retention=retention,
        types=tuple(event.type_name() for event in events),
        source=source_of(writer),
    )


ORDERS = _topic(
    "orders",
    DAYS_7,
    OrderCreated,
    PaymentRequested,
    OrderCancelled,
    OrderShipped,
    writer="order",
)
ORDER_EVENTS = _topic("order-events", DAYS_30, OrderEvent, writer="order")
PAYMENTS = _topic(
    "payments", DAYS_7, PaymentSucceeded, PaymentFailed, PaymentRefunded, writer="payment"
)
INVENTORY = _topic(
    "inventory", DAYS_7, StockReserved, StockRejected, StockReleased, writer="inventory"
)
NOTIFICATIONS = _topic(
    "notifications",
    DAYS_7,
    NotificationSent,
    NotificationFailed,
    writer="notification",
    key="customerId",
)


def _table(name: str, key: str, *events: type[Envelope]) -> Topic:
    """A changelog of revenue: the last record of each key is kept."""
    return Topic(
        name=name,
        key=key,
        retention=None,
        types=tuple(event.type_name() for event in events),
        cleanup=Cleanup.COMPACT,
        source=source_of("revenue"),
    )


HOUR_KEY = "<hour>/<currency>"
REVENUE_BY_CUSTOMER = _table("revenue-by-customer", "customerId", RevenueByCustomer)
REVENUE_BY_HOUR = _table("revenue-by-hour", HOUR_KEY, RevenueByHour)
REVENUE_FACTS = _table("revenue-by-customer-facts-changelog", "none: 16-byte ids, many in a record")
BY_CUSTOMER_REPARTITION = _topic(
    "revenue-service-by-customer-repartition",
    DAYS_7,
    CustomerRevenueChange,
    writer="revenue",
    key="customerId",
)
BY_HOUR_REPARTITION = _topic(
    "revenue-service-by-hour-repartition",
    DAYS_7,
    HourRevenueChange,
    writer="revenue",
    key=HOUR_KEY,
)
SOURCES = {
    topic.name: topic.source or ""
    for topic in (
        ORDERS,
        ORDER_EVENTS,
        PAYMENTS,
        INVENTORY,
        NOTIFICATIONS,
        REVENUE_BY_CUSTOMER,
        REVENUE_BY_HOUR,
        BY_CUSTOMER_REPARTITION,
        BY_HOUR_REPARTITION,
    )
}
"""The `ce_source` of each topic's only writer."""
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
