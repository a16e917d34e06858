"""Typed ids and the laws that derive them."""

from typing import NewType
from uuid import UUID, uuid5

from orderflow.contracts import NAMESPACE

OrderId = NewType("OrderId", str)
CustomerId = NewType("CustomerId", str)
PaymentId = NewType("PaymentId", str)
Sku = NewType("Sku", str)


def payment_id(order_id: OrderId, attempt: int) -> PaymentId:
    """The payment of one attempt: also the provider's idempotency key and reference."""
    return PaymentId(str(uuid5(NAMESPACE, f"{order_id}/payment/{attempt}")))


def refund_id(payment: PaymentId) -> UUID:
    """The one refund of a payment."""
    return uuid5(NAMESPACE, f"{payment}/refund/1")
