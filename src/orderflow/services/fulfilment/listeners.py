"""What fulfilment listens to, and what handles it."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderEvent
from orderflow.contracts.topics import ORDER_EVENTS
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.fulfilment.handlers import move_shipments

LISTENER = Listener(
    name="fulfilment",
    group="order-processor",
    source="/orderflow/fulfilment",
    namespace=NAMESPACE,
    topics=(ORDER_EVENTS,),
    handles=(OrderEvent,),
    delivery=InboxOutbox(handler=move_shipments),
)
