"""What inventory hears, as tests need it."""

from __future__ import annotations

from datetime import UTC, datetime

from orderflow.contracts.events import OrderLine, OrderShipped, PaymentRefunded, PaymentSucceeded
from orderflow.contracts.ids import CustomerId, OrderId, Sku, payment_id, refund_id

NOW = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
CUSTOMER = CustomerId("customer-123")


def paid(order_id: OrderId, *lines: tuple[str, int]) -> PaymentSucceeded:
    return PaymentSucceeded(
        order_id=order_id,
        customer_id=CUSTOMER,
        attempt=1,
        payment_id=payment_id(order_id, 1),
        amount_minor=100,
        currency="EUR",
        payment_method="pm_ok",
        lines=tuple(
            OrderLine(sku=Sku(sku), quantity=quantity, unit_price_minor=1)
            for sku, quantity in lines
        ),
        occurred_at=NOW,
    )


def refunded(order_id: OrderId) -> PaymentRefunded:
    payment = payment_id(order_id, 1)
    return PaymentRefunded(
        order_id=order_id,
        customer_id=CUSTOMER,
        attempt=1,
        payment_id=payment,
        refund_id=refund_id(payment),
        amount_minor=100,
        currency="EUR",
        reason="CUSTOMER",
        occurred_at=NOW,
    )


def shipped(order_id: OrderId) -> OrderShipped:
    return OrderShipped(order_id=order_id, customer_id=CUSTOMER, version=3, occurred_at=NOW)
