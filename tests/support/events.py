"""Events as tests need them: valid, arbitrary, or one in particular."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from orderflow.contracts.events import (
    CancelReason,
    Envelope,
    NotificationFailed,
    NotificationSent,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderLine,
    OrderShipped,
    OrderStatus,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    Shortage,
    StockLine,
    StockRejected,
    StockRejectionReason,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import CustomerId, NotificationId, OrderId, PaymentId, RefundId, Sku

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)

MOMENTS = st.integers(0, 4_102_444_800_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
"""1970 to 2100, in the milliseconds that the wire keeps."""

ORDER_LINES = st.builds(OrderLine, sku=TEXT.map(Sku), quantity=INT, unit_price_minor=LONG)

ORDERS_CREATED = st.builds(
    OrderCreated,
    order_id=TEXT.map(OrderId),
    customer_id=TEXT.map(CustomerId),
    version=INT,
    lines=st.lists(ORDER_LINES, max_size=4).map(tuple),
    amount_minor=LONG,
    currency=TEXT,
    payment_mode=TEXT,
    attempt=INT,
    payment_id=st.none() | TEXT.map(PaymentId),
    payment_method=st.none() | TEXT,
    occurred_at=MOMENTS,
)

ORDER_EVENTS = st.builds(
    OrderEvent,
    order_id=TEXT.map(OrderId),
    customer_id=TEXT.map(CustomerId),
    status=st.sampled_from(OrderStatus),
    description=TEXT,
    timestamp=MOMENTS,
    version=INT,
    previous_status=st.none() | st.sampled_from(OrderStatus),
    reason=st.none() | TEXT,
)

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
    payment_id=PaymentId("5f1c3c5e-0000-5000-8000-000000000001"),
    payment_method="pm_ok",
    occurred_at=datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC),
)

ORDER_EVENT = OrderEvent(
    order_id=OrderId("0198a0b2-1111-7222-8333-444455556666"),
    customer_id=CustomerId("customer-123"),
    status=OrderStatus.CANCELLED,
    description="Order has been cancelled",
    timestamp=datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC),
    version=2,
    previous_status=OrderStatus.CREATED,
    reason="CUSTOMER",
)

_ORDER = ORDER_CREATED.order_id
_CUSTOMER = ORDER_CREATED.customer_id
_LINES = ORDER_CREATED.lines
_PIECES = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in _LINES)
_PAYMENT = PaymentId("5f1c3c5e-0000-5000-8000-000000000001")
_AT = ORDER_CREATED.occurred_at
_NOTIFICATION = NotificationId("5f1c3c5e-0000-5000-8000-000000000003")
_CAUSE = "0198a0b2-1111-7222-8333-444455556667"

EXAMPLES: dict[type[Envelope], tuple[str, Envelope]] = {
    OrderCreated: ("orders", ORDER_CREATED),
    PaymentRequested: (
        "orders",
        PaymentRequested(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            attempt=2,
            payment_id=_PAYMENT,
            amount_minor=4_498,
            currency="EUR",
            payment_method="pm_ok",
            lines=_LINES,
            occurred_at=_AT,
        ),
    ),
    OrderCancelled: (
        "orders",
        OrderCancelled(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            version=3,
            reason=CancelReason.OUT_OF_STOCK,
            description="Order has been cancelled: out of stock",
            occurred_at=_AT,
        ),
    ),
    OrderShipped: (
        "orders",
        OrderShipped(order_id=_ORDER, customer_id=_CUSTOMER, version=3, occurred_at=_AT),
    ),
    OrderEvent: ("order-events", ORDER_EVENT),
    PaymentSucceeded: (
        "payments",
        PaymentSucceeded(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            attempt=1,
            payment_id=_PAYMENT,
            amount_minor=4_498,
            currency="EUR",
            payment_method="pm_ok",
            provider_reference="ch_000001",
            lines=_LINES,
            occurred_at=_AT,
        ),
    ),
    PaymentFailed: (
        "payments",
        PaymentFailed(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            attempt=1,
            payment_id=_PAYMENT,
            amount_minor=4_498,
            currency="EUR",
            reason=PaymentFailureReason.DECLINED,
            message="The provider declined the payment",
            occurred_at=_AT,
        ),
    ),
    PaymentRefunded: (
        "payments",
        PaymentRefunded(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            attempt=1,
            payment_id=_PAYMENT,
            refund_id=RefundId("5f1c3c5e-0000-5000-8000-000000000002"),
            amount_minor=4_498,
            currency="EUR",
            reason=CancelReason.OUT_OF_STOCK,
            provider_reference="re_000001",
            occurred_at=_AT,
        ),
    ),
    StockReserved: (
        "inventory",
        StockReserved(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            payment_id=_PAYMENT,
            lines=_PIECES,
            occurred_at=_AT,
        ),
    ),
    StockRejected: (
        "inventory",
        StockRejected(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            payment_id=_PAYMENT,
            reason=StockRejectionReason.OUT_OF_STOCK,
            shortages=(Shortage(sku=Sku("SKU-1"), requested=2, available=1),),
            occurred_at=_AT,
        ),
    ),
    StockReleased: (
        "inventory",
        StockReleased(
            order_id=_ORDER,
            customer_id=_CUSTOMER,
            payment_id=_PAYMENT,
            lines=_PIECES,
            reason=CancelReason.CUSTOMER,
            occurred_at=_AT,
        ),
    ),
    NotificationSent: (
        "notifications",
        NotificationSent(
            notification_id=_NOTIFICATION,
            customer_id=_CUSTOMER,
            sequence=7,
            order_id=_ORDER,
            kind="ORDER_CREATED",
            channel="EMAIL",
            cause_id=_CAUSE,
            cause_type=OrderCreated.type_name(),
            occurred_at=_AT,
        ),
    ),
    NotificationFailed: (
        "notifications",
        NotificationFailed(
            notification_id=_NOTIFICATION,
            customer_id=_CUSTOMER,
            sequence=8,
            order_id=_ORDER,
            kind="ORDER_CREATED",
            channel="EMAIL",
            cause_id=_CAUSE,
            cause_type=OrderCreated.type_name(),
            occurred_at=_AT,
            reason="550 no such mailbox",
            attempts=1,
        ),
    ),
}
"""One of each type, and the topic that it belongs on: the golden records are these."""
