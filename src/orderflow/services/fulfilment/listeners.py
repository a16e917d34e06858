"""What fulfilment listens to, and what handles it."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderEvent, StockReleased, StockReserved
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.fulfilment.handlers import move_shipments

LISTENER = Listener(
    name="fulfilment",
    group="order-processor",
    source="/orderflow/fulfilment",
    namespace=NAMESPACE,
    topics=(ORDER_EVENTS, INVENTORY),
    handles=(OrderEvent, StockReserved, StockReleased),
    delivery=InboxOutbox(handler=move_shipments),
)
