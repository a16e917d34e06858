"""What a client sees of an order that waits."""

from __future__ import annotations

import msgspec
import pytest

from orderflow.contracts.events import OrderStatus
from orderflow.services.order.config import DeadlineSettings
from orderflow.services.order.http.examples import CANCELLED, CREATED, DELIVERED, PAID, SHIPPED
from orderflow.services.order.http.views import next_action, waiting_view
from orderflow.services.order.model import Order, Payment, PaymentState, StockState

LIMITS = DeadlineSettings().limits
UNPAID = msgspec.structs.replace(
    CREATED, payment=Payment(attempt=0, state=PaymentState.NONE, payment_id=None)
)
WITHOUT_STOCK = msgspec.structs.replace(PAID, stock=StockState.NONE)


@pytest.mark.parametrize("order", [UNPAID, CREATED, WITHOUT_STOCK, PAID, SHIPPED])
def test_each_wait_names_what_an_operator_does_with_the_order(order: Order) -> None:
    view = waiting_view(order, limits=LIMITS, now=order.updated_at)
    assert view is not None
    assert order.order_id in view.next_action
    assert view.next_action == next_action(order)


@pytest.mark.parametrize("order", [DELIVERED, CANCELLED])
def test_an_order_at_its_end_waits_for_nothing(order: Order) -> None:
    assert order.status in {OrderStatus.DELIVERED, OrderStatus.CANCELLED}
    assert waiting_view(order, limits=LIMITS, now=order.updated_at) is None
    assert next_action(order) is None
