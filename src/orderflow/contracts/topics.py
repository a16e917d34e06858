"""The topics: name, key, promise and the events that belong on each. `orderflow topics apply` makes them so."""

from datetime import timedelta

from orderflow.contracts.events import OrderCreated, OrderEvent
from orderflow.messaging.kafka.topics import Topic

DAYS_7 = timedelta(days=7)
DAYS_30 = timedelta(days=30)

ORDERS = Topic(name="orders", key="orderId", retention=DAYS_7, types=(OrderCreated.type_name(),))
ORDER_EVENTS = Topic(name="order-events", key="orderId", retention=DAYS_30, types=(OrderEvent.type_name(),))
PAYMENTS = Topic(name="payments", key="orderId", retention=DAYS_7)
INVENTORY = Topic(name="inventory", key="orderId", retention=DAYS_7)
NOTIFICATIONS = Topic(name="notifications", key="customerId", retention=DAYS_7)
RELAY_POSITIONS = Topic(
    name="relay-positions", key="none: it holds offsets, no records", retention=DAYS_7, partitions=1
)

TOPICS: tuple[Topic, ...] = (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY, NOTIFICATIONS, RELAY_POSITIONS)

TYPES_BY_TOPIC: dict[str, tuple[str, ...]] = {topic.name: topic.types for topic in TOPICS if topic.types}
