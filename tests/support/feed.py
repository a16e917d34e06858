"""Lives of orders, as `order-events` tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import uuid_utils.compat
from tests.support import handling

from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.contracts.topics import ORDER_EVENTS
from orderflow.messaging.listener import Received

AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
CUSTOMER = CustomerId("customer-123")

CREATED, PAID, SHIPPED, DELIVERED, CANCELLED = OrderStatus
LIVES: Mapping[str, tuple[OrderStatus, ...]] = {
    "waits for money": (CREATED,),
    "is given up": (CREATED, CANCELLED),
    "is to be packed": (CREATED, PAID),
    "is refunded": (CREATED, PAID, CANCELLED),
    "is on its way": (CREATED, PAID, SHIPPED),
    "is delivered": (CREATED, PAID, SHIPPED, DELIVERED),
}
"""All that can become of an order."""


def new_order() -> OrderId:
    return OrderId(str(uuid_utils.compat.uuid7()))


def life(
    statuses: Sequence[OrderStatus],
    *,
    order_id: OrderId | None = None,
    begin: datetime = AT,
    seconds: float = 60,
) -> list[OrderEvent]:
    """One order's events, `seconds` apart."""
    order_id = order_id or new_order()
    steps = [(None, statuses[0]), *pairwise(statuses)]
    return [
        OrderEvent(
            order_id=order_id,
            customer_id=CUSTOMER,
            status=status,
            description=f"order {status.lower()}",
            timestamp=begin + number * timedelta(seconds=seconds),
            version=number + 1,
            previous_status=previous,
            reason="CUSTOMER" if status is CANCELLED else None,
        )
        for number, (previous, status) in enumerate(steps)
    ]


def record(event: OrderEvent, *, event_id: UUID | None = None) -> Received:
    return handling.record(event, topic=ORDER_EVENTS.name, event_id=event_id)
