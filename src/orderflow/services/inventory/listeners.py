"""What inventory listens to, what it handles, and what it publishes."""

from __future__ import annotations

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderShipped, PaymentRefunded, PaymentSucceeded
from orderflow.contracts.topics import INVENTORY, ORDERS, PAYMENTS
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.services.inventory.handlers import move_stock

LISTENER = Listener(
    name="inventory",
    group="inventory-service",
    source="/orderflow/inventory",
    namespace=NAMESPACE,
    topics=(PAYMENTS, ORDERS),
    handles=(PaymentSucceeded, PaymentRefunded, OrderShipped),
    publishes=(INVENTORY,),
    delivery=InboxOutbox(handler=move_stock),
)
