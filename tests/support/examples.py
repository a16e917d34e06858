"""One fixed event of each type, by type: the golden records are these."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace
from tests.support.builders import (
    cancelled,
    paid,
    payment_failed,
    payment_requested,
    refunded,
    rejected,
    released,
    reserved,
    shipped,
)

from orderflow.contracts.events import (
    CancelReason,
    CurrencyTotals,
    CustomerRevenueChange,
    Envelope,
    HourRevenueChange,
    NotificationFailed,
    NotificationSent,
    OrderCreated,
    OrderEvent,
    OrderLine,
    OrderStatus,
    RevenueByCustomer,
    RevenueByHour,
    Shortage,
)
from orderflow.contracts.ids import (
    CustomerId,
    FactId,
    NotificationId,
    OrderId,
    PaymentId,
    RefundId,
    Sku,
)

AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
PAYMENT = PaymentId("5f1c3c5e-0000-5000-8000-000000000001")

ORDER_CREATED = OrderCreated(
    order_id=OrderId("0198a0b2-1111-7222-8333-444455556666"),
    customer_id=CustomerId("customer-123"),
    version=1,
    lines=(
        OrderLine(sku=Sku("SKU-1"), quantity=2, unit_price_minor=1_999),
        OrderLine(sku=Sku("SKU-2"), quantity=1, unit_price_minor=500),
    ),
    amount_minor=4_498,
    currency="EUR",
    payment_mode="AUTOMATIC",
    attempt=1,
    payment_id=PAYMENT,
    payment_method="pm_ok",
    occurred_at=AT,
)

ORDER_EVENT = OrderEvent(
    order_id=ORDER_CREATED.order_id,
    customer_id=ORDER_CREATED.customer_id,
    status=OrderStatus.CANCELLED,
    description="Order has been cancelled",
    timestamp=AT,
    version=2,
    previous_status=OrderStatus.CREATED,
    reason="CUSTOMER",
)

_SENT = NotificationSent(
    notification_id=NotificationId("5f1c3c5e-0000-5000-8000-000000000003"),
    customer_id=ORDER_CREATED.customer_id,
    sequence=7,
    order_id=ORDER_CREATED.order_id,
    kind="ORDER_CREATED",
    channel="EMAIL",
    cause_id="0198a0b2-1111-7222-8333-444455556667",
    cause_type=OrderCreated.type_name(),
    occurred_at=AT,
)

_TOTALS = CurrencyTotals(
    captured_minor=12_990, refunded_minor=2_500, net_minor=10_490, payments=3, refunds=1
)
_HOUR = AT.replace(minute=0, second=0, microsecond=0)

EXAMPLES: dict[type[Envelope], Envelope] = {
    type(event): event
    for event in (
        ORDER_CREATED,
        replace(payment_requested(ORDER_CREATED, 2), payment_id=PAYMENT, occurred_at=AT),
        replace(
            cancelled(ORDER_CREATED, CancelReason.OUT_OF_STOCK),
            version=3,
            description="Order has been cancelled: out of stock",
            occurred_at=AT,
        ),
        shipped(ORDER_CREATED),
        ORDER_EVENT,
        replace(paid(ORDER_CREATED), payment_id=PAYMENT, provider_reference="ch_000001"),
        replace(payment_failed(ORDER_CREATED), payment_id=PAYMENT),
        replace(
            refunded(ORDER_CREATED),
            payment_id=PAYMENT,
            refund_id=RefundId("5f1c3c5e-0000-5000-8000-000000000002"),
            reason=CancelReason.OUT_OF_STOCK,
            provider_reference="re_000001",
        ),
        replace(reserved(ORDER_CREATED), payment_id=PAYMENT),
        replace(
            rejected(ORDER_CREATED),
            payment_id=PAYMENT,
            shortages=(Shortage(sku=Sku("SKU-1"), requested=2, available=1),),
        ),
        replace(released(ORDER_CREATED), payment_id=PAYMENT),
        _SENT,
        NotificationFailed(
            **{
                **{name: getattr(_SENT, name) for name in _SENT.__struct_fields__},
                "sequence": 8,
                "reason": "550 no such mailbox",
                "attempts": 1,
            }
        ),
        RevenueByCustomer(
            customer_id=ORDER_CREATED.customer_id, totals={"EUR": _TOTALS}, updated_at=AT
        ),
        RevenueByHour(hour=_HOUR, currency="EUR", totals=_TOTALS, updated_at=AT),
        CustomerRevenueChange(
            customer_id=ORDER_CREATED.customer_id,
            fact_id=FactId(PAYMENT),
            currency="EUR",
            captured_minor=4_498,
            refunded_minor=0,
            is_refund=False,
            occurred_at=AT,
        ),
        HourRevenueChange(
            hour=_HOUR,
            currency="EUR",
            captured_minor=4_498,
            refunded_minor=0,
            payments=1,
            refunds=0,
            occurred_at=AT,
        ),
    )
}
