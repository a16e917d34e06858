"""What analytics listens to, and what handles it."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderEvent
from orderflow.contracts.topics import ORDER_EVENTS
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.analytics.handlers import count_changes

LISTENER = Listener(
    name="analytics",
    group="analytics-service",
    source="/orderflow/analytics",
    namespace=NAMESPACE,
    topics=(ORDER_EVENTS,),
    handles=(OrderEvent,),
    delivery=InboxOutbox(handler=count_changes),
)
