"""What a client sees of an order that waits."""

from __future__ import annotations

import msgspec
import pytest

from orderflow.contracts.events import OrderStatus
from orderflow.services.order.config import DeadlineSettings
from orderflow.services.order.http.examples import (
    CANCELLED,
    CREATED,
    DELIVERED,
    PAID,
    SHIPPED,
    as_json,
)
from orderflow.services.order.http.views import next_action, order_view, waiting_view
from orderflow.services.order.model import ATTEMPTS_MAX, Order, Payment, PaymentState, StockState

LIMITS = DeadlineSettings().limits
UNPAID = msgspec.structs.replace(
    CREATED, payment=Payment(attempt=0, state=PaymentState.NONE, payment_id=None)
)
WITHOUT_ATTEMPT = msgspec.structs.replace(
    CREATED, payment=Payment(attempt=ATTEMPTS_MAX, state=PaymentState.FAILED, payment_id=None)
)
REFUNDED = msgspec.structs.replace(
    CANCELLED, payment=Payment(attempt=1, state=PaymentState.REFUNDED, payment_id=None)
)
ENDED = msgspec.structs.replace(REFUNDED, stock=StockState.RELEASED)
WITHOUT_STOCK = msgspec.structs.replace(PAID, stock=StockState.NONE)


@pytest.mark.parametrize(
    "order", [UNPAID, WITHOUT_ATTEMPT, CREATED, WITHOUT_STOCK, PAID, SHIPPED, CANCELLED, REFUNDED]
)
def test_each_wait_names_what_an_operator_does_with_the_order(order: Order) -> None:
    view = waiting_view(order, limits=LIMITS, now=order.updated_at)
    assert view is not None
    assert order.order_id in view.next_action
    assert view.next_action == next_action(order)


@pytest.mark.parametrize("order", [DELIVERED, ENDED])
def test_an_order_at_its_end_waits_for_nothing(order: Order) -> None:
    assert order.status in {OrderStatus.DELIVERED, OrderStatus.CANCELLED}
    assert waiting_view(order, limits=LIMITS, now=order.updated_at) is None
    assert next_action(order) is None


def test_an_order_without_an_attempt_left_is_not_told_to_be_paid() -> None:
    view = waiting_view(WITHOUT_ATTEMPT, limits=LIMITS, now=WITHOUT_ATTEMPT.updated_at)
    assert view is not None
    assert "/pay" not in view.next_action
    assert "orderflow stuck cancel" in view.next_action


def test_a_failed_payment_says_why_wherever_the_order_is_shown() -> None:
    failed = Payment(
        attempt=1,
        state=PaymentState.FAILED,
        payment_id=None,
        reason="DECLINED",
        message="the card was declined",
    )
    shown = as_json(order_view(msgspec.structs.replace(CREATED, payment=failed)))
    assert (shown["payment"]["reason"], shown["payment"]["message"]) == (
        "DECLINED",
        "the card was declined",
    )
    assert "reason" not in as_json(order_view(CREATED))["payment"]
