"""The OpenAPI document's examples: one order at every stage, made of the types that answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, Sku, payment_id
from orderflow.services.order.http.list_orders import cursor_of
from orderflow.services.order.http.products import ProductHistoryPage, ProductPage
from orderflow.services.order.http.views import (
    Cause,
    HistoryPage,
    HistoryView,
    OrderPage,
    Waiting,
    order_view,
)
from orderflow.services.order.model import (
    Order,
    Payment,
    PaymentState,
    StockState,
    WaitingFor,
    place,
)
from orderflow.services.order.products import ListedProduct, ProductVersion

ORDER_ID = OrderId("0198a0b2-1111-7222-8333-444455556666")
AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
EVENT_ID = "0198a0b2-2222-7333-8444-555566667777"

CREATED = place(
    order_id=ORDER_ID,
    customer_id=CustomerId("customer-123"),
    lines=(OrderLine(sku=Sku("KEYBOARD-01"), quantity=2, unit_price_minor=8_990),),
    currency="EUR",
    mode=PaymentMode.AUTOMATIC,
    payment_method="pm_ok",
    now=AT,
)
ON_REQUEST = place(
    order_id=ORDER_ID,
    customer_id=CustomerId("customer-123"),
    lines=(),
    currency="EUR",
    mode=PaymentMode.ON_REQUEST,
    payment_method=None,
    now=AT,
)


def _later(
    status: OrderStatus, version: int, revision: int, stock: StockState = StockState.RESERVED
) -> Order:
    return msgspec.structs.replace(
        CREATED,
        status=status,
        version=version,
        revision=revision,
        payment=Payment(
            attempt=1, state=PaymentState.SUCCEEDED, payment_id=payment_id(ORDER_ID, 1)
        ),
        stock=stock,
        updated_at=AT + timedelta(seconds=revision),
    )


UNSETTLED = _later(OrderStatus.PAID, 2, 3, StockState.NONE)
PAID = _later(OrderStatus.PAID, 2, 4)
SHIPPED = _later(OrderStatus.SHIPPED, 3, 5)
DELIVERED = _later(OrderStatus.DELIVERED, 4, 6)
CANCELLED = _later(OrderStatus.CANCELLED, 3, 5)


def shown(order: Order, *, message: str | None = None) -> Any:
    """The order's view as JSON."""
    return as_json(order_view(order, message=message))


def as_json(view: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(view))


PAGE = as_json(
    OrderPage(
        items=(
            msgspec.structs.replace(
                order_view(CREATED),
                waiting=Waiting(
                    for_=WaitingFor.PAYMENT,
                    since=AT,
                    deadline=AT + timedelta(minutes=30),
                    overdue=True,
                    owner="payment",
                    next_action=f"ask payment again: `orderflow stuck retry {ORDER_ID}`",
                ),
            ),
        ),
        next_cursor=cursor_of(CREATED),
    )
)
HISTORY = as_json(
    HistoryPage(
        items=(
            HistoryView(
                revision=1,
                version=1,
                status=OrderStatus.CREATED,
                description="Order has been created",
                occurred_at=AT,
                event_id=EVENT_ID,
                cause=Cause(type="command", id="place"),
            ),
        )
    )
)
PRODUCT = ListedProduct(
    sku=Sku("KEYBOARD-01"),
    name="Mechanical keyboard",
    prices={"EUR": 8_990, "USD": 9_490},
    active=True,
    version=2,
    updated_at=AT,
)
PUT_PRODUCT = {
    "name": PRODUCT.name,
    "prices": PRODUCT.prices,
    "reason": "the price list of February",
}
PRODUCTS = as_json(ProductPage(items=(PRODUCT,), next_cursor=None))
PRODUCT_HISTORY = as_json(
    ProductHistoryPage(
        items=(
            ProductVersion(
                sku=PRODUCT.sku,
                version=2,
                name=PRODUCT.name,
                prices=PRODUCT.prices,
                active=True,
                actor="anna",
                reason="the price list of February",
                occurred_at=AT,
            ),
        ),
        next_cursor=None,
    )
)
RETRIED = {
    "orderId": ORDER_ID,
    "waitsFor": "PAYMENT",
    "events": [{"eventId": EVENT_ID, "eventType": "OrderCreated", "repeated": True}],
}
