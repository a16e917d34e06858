"""Typed ids and the laws that derive them."""

from typing import NewType

import uuid_utils

from orderflow.contracts import NAMESPACE

OrderId = NewType("OrderId", str)
CustomerId = NewType("CustomerId", str)
PaymentId = NewType("PaymentId", str)
RefundId = NewType("RefundId", str)
NotificationId = NewType("NotificationId", str)
Sku = NewType("Sku", str)

_NAMESPACE = uuid_utils.UUID(str(NAMESPACE))
"""The same, for the implementation that takes a tenth of the time: every order has a payment id."""


def payment_id(order_id: OrderId, attempt: int) -> PaymentId:
    """The payment of one attempt: also the provider's idempotency key and reference."""
    return PaymentId(str(uuid_utils.uuid5(_NAMESPACE, f"{order_id}/payment/{attempt}")))


def refund_id(payment: PaymentId) -> RefundId:
    """The one refund of a payment: also the provider's idempotency key and reference."""
    return RefundId(str(uuid_utils.uuid5(_NAMESPACE, f"{payment}/refund/1")))


def notification_id(cause_id: object, kind: str) -> NotificationId:
    """The message to a customer about one event: also the mail's Message-ID."""
    return NotificationId(str(uuid_utils.uuid5(_NAMESPACE, f"{cause_id}/notification/{kind}")))
