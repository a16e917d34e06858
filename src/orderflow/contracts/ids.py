"""Typed ids, and how derived ones are made: the same input gives the same id in every re-run."""

from typing import NewType
from uuid import UUID

from orderflow.contracts import NAMESPACE
from orderflow.messaging.derived_ids import DerivedIds

OrderId = NewType("OrderId", str)
CustomerId = NewType("CustomerId", str)
PaymentId = NewType("PaymentId", str)
RefundId = NewType("RefundId", str)
NotificationId = NewType("NotificationId", str)
Sku = NewType("Sku", str)
FactId = NewType("FactId", str)
"""The payment's id of a capture, the refund's of a refund."""

_DERIVED = DerivedIds(NAMESPACE)


def order_id_of(text: str) -> OrderId:
    """
    The order id that `text` spells: capitals, no hyphens and `urn:uuid:` are the same id.

    Raises ValueError if it is no UUID. For every edge where an id comes in: rows, keys and scopes
    know only the one form, in small letters with hyphens.
    """
    return OrderId(str(UUID(text)))


def known_order_id(text: str) -> OrderId:
    """
    As `order_id_of`, for an edge where an id that is none is an order that nobody knows.
    """
    try:
        return order_id_of(text)
    except ValueError:
        return OrderId(text)


def payment_id(order_id: OrderId, attempt: int) -> PaymentId:
    """The id of one attempt's payment; also its idempotency key and reference at the provider."""
    return PaymentId(_DERIVED.make(order_id, f"{order_id}/payment/{attempt}"))


def refund_id(payment: PaymentId) -> RefundId:
    """The id of a payment's only refund; also its idempotency key and reference there."""
    return RefundId(_DERIVED.make(payment, f"{payment}/refund/1"))


def notification_id(cause_id: object, kind: str) -> NotificationId:
    """The id of one event's notification; also the mail's Message-ID, which reveals repeats."""
    return NotificationId(_DERIVED.make(str(cause_id), f"{cause_id}/notification/{kind}"))
