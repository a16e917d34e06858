"""What revenue listens to, and the topology that handles it."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    CustomerRevenueChange,
    HourRevenueChange,
    PaymentRefunded,
    PaymentSucceeded,
)
from orderflow.messaging.listener import Listener, Stateful
from orderflow.services.revenue.topology import TOPOLOGY

LISTENER = Listener(
    name="revenue",
    group="revenue-service",
    source="/orderflow/revenue",
    namespace=NAMESPACE,
    topics=TOPOLOGY.topics,
    handles=(PaymentSucceeded, PaymentRefunded, CustomerRevenueChange, HourRevenueChange),
    publishes=TOPOLOGY.publishes,
    delivery=Stateful(topology=TOPOLOGY),
)
