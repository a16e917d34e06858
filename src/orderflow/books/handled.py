"""
Which events each group handles, and so has in its inbox: the services' own tables, said once more.

The books may not import a service; a contract test compares this with every service's listener.
"""

from __future__ import annotations

from collections.abc import Mapping

from orderflow.contracts import events
from orderflow.contracts.events import Envelope, OrderStatus


def _names(*types: type[Envelope]) -> frozenset[str]:
    return frozenset(event.__name__ for event in types)


HANDLED: Mapping[str, frozenset[str]] = {
    "order-service": _names(
        events.PaymentSucceeded,
        events.PaymentFailed,
        events.PaymentRefunded,
        events.StockReserved,
        events.StockRejected,
        events.StockReleased,
    ),
    "inventory-service": _names(
        events.PaymentSucceeded, events.PaymentRefunded, events.OrderShipped
    ),
    "notification-service": _names(
        events.OrderCreated,
        events.PaymentSucceeded,
        events.PaymentFailed,
        events.PaymentRefunded,
        events.StockRejected,
        events.OrderEvent,
    ),
    "order-processor": _names(events.OrderEvent, events.StockReserved, events.StockReleased),
    "analytics-service": _names(events.OrderEvent),
}
"""By group with an inbox, the types without their namespace."""

WANTED_STATUSES: Mapping[str, frozenset[str]] = {
    "notification-service": frozenset(
        {OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.CANCELLED}
    ),
}
"""Of which statuses a group wants an OrderEvent; one that is not here wants them all."""


def is_handled(group: str, *, type_name: str, status: str) -> bool:
    """Whether an event of this type, an OrderEvent of this status, has to be in the inbox."""
    if type_name not in HANDLED[group]:
        return False
    statuses = WANTED_STATUSES.get(group)
    return type_name != events.OrderEvent.__name__ or statuses is None or status in statuses
