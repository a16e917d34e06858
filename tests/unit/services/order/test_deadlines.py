"""What an order waits for, until when, and who has to act: for every state of an order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import msgspec
import pytest
from tests.support.fact_schedules import fact

from orderflow.contracts.events import CancelReason, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.services.order.config import DeadlineSettings
from orderflow.services.order.deadlines import current_wait, cutoffs
from orderflow.services.order.model import (
    ATTEMPTS_MAX,
    Action,
    Order,
    Payment,
    PaymentState,
    StockState,
    WaitingFor,
    allowed_actions,
    place,
    waiting_for,
)
from orderflow.services.order.rules import cancel, on_fact

NOW = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
LIMITS = DeadlineSettings().limits
LATER = NOW + timedelta(seconds=7)


def placed(mode: PaymentMode = PaymentMode.AUTOMATIC) -> Order:
    return place(
        order_id=OrderId("0198a0b2-1111-7222-8333-444455556666"),
        customer_id=CustomerId("customer-123"),
        lines=(),
        currency="EUR",
        mode=mode,
        payment_method="pm_ok",
        now=NOW,
    )


def every_order() -> Iterator[Order]:
    for status, state, stock in product(OrderStatus, PaymentState, StockState):
        payment = Payment(attempt=1, state=state, payment_id=None)
        yield msgspec.structs.replace(placed(), status=status, payment=payment, stock=stock)


def has_ended(order: Order) -> bool:
    """Delivered; or cancelled, with no payment to end and no stock to release."""
    if order.status is OrderStatus.CANCELLED:
        owed = order.payment.state in {PaymentState.REQUESTED, PaymentState.SUCCEEDED}
        return not owed and order.stock is not StockState.RESERVED
    return order.status is OrderStatus.DELIVERED


def test_an_order_waits_for_something_until_it_has_come_to_its_end() -> None:
    for order in every_order():
        assert (current_wait(order, limits=LIMITS, now=NOW) is None) == has_ended(order)


@pytest.mark.parametrize(
    ("status", "state", "stock", "awaited", "limit", "owner"),
    [
        ("CREATED", "NONE", "NONE", "PAY", timedelta(hours=24), "customer"),
        ("CREATED", "FAILED", "NONE", "PAY", timedelta(hours=24), "customer"),
        ("CREATED", "REQUESTED", "NONE", "PAYMENT", timedelta(minutes=30), "payment"),
        ("CREATED", "REQUESTED", "RESERVED", "PAYMENT", timedelta(minutes=30), "payment"),
        ("PAID", "SUCCEEDED", "NONE", "STOCK", timedelta(minutes=15), "inventory"),
        ("PAID", "SUCCEEDED", "RESERVED", "SHIP", timedelta(days=7), "warehouse"),
        ("SHIPPED", "SUCCEEDED", "RESERVED", "DELIVER", timedelta(days=30), "carrier"),
        ("CANCELLED", "REQUESTED", "NONE", "REFUND", timedelta(hours=1), "payment"),
        ("CANCELLED", "SUCCEEDED", "NONE", "REFUND", timedelta(hours=1), "payment"),
        ("CANCELLED", "SUCCEEDED", "RESERVED", "REFUND", timedelta(hours=1), "payment"),
        ("CANCELLED", "REFUNDED", "RESERVED", "RELEASE", timedelta(minutes=15), "inventory"),
    ],
)
def test_each_wait_has_its_deadline_and_its_owner(
    status: str, state: str, stock: str, awaited: str, limit: timedelta, owner: str
) -> None:
    payment = Payment(attempt=1, state=PaymentState(state), payment_id=None)
    order = msgspec.structs.replace(
        placed(),
        status=OrderStatus(status),
        payment=payment,
        stock=StockState(stock),
        waiting_since=LATER,
    )

    for now, overdue in ((LATER + limit - timedelta(milliseconds=1), False), (LATER + limit, True)):
        wait = current_wait(order, limits=LIMITS, now=now)
        assert wait is not None
        assert (wait.awaited, wait.since, wait.deadline, wait.owner) == (
            awaited,
            LATER,
            LATER + limit,
            owner,
        )
        assert wait.overdue is overdue
        assert overdue == (order.waiting_since <= cutoffs(LIMITS, now=now)[WaitingFor(awaited)])


def test_a_wait_begins_anew_only_when_something_else_is_waited_for() -> None:
    order = placed()
    [reserved] = on_fact(order, fact("reserved", order), now=LATER)
    assert reserved.after.waiting_since == NOW, "it still waits for its payment"
    [failed] = on_fact(reserved.after, fact("failed", order), now=LATER)
    assert (waiting_for(failed.after), failed.after.waiting_since) == (WaitingFor.PAY, LATER)
    *_, paid = on_fact(order, fact("succeeded", order), now=LATER)
    assert (waiting_for(paid.after), paid.after.waiting_since) == (WaitingFor.STOCK, LATER)


def test_a_cancelled_order_waits_until_its_payment_has_come_to_its_end() -> None:
    order = placed()
    cancelled = cancel(order, reason=CancelReason.CUSTOMER, now=LATER).after
    assert waiting_for(cancelled) is WaitingFor.REFUND

    [captured] = on_fact(cancelled, fact("succeeded", order), now=LATER + timedelta(hours=1))
    assert waiting_for(captured.after) is WaitingFor.REFUND
    assert captured.after.waiting_since == LATER, "it is the same wait"
    [refunded] = on_fact(captured.after, fact("refunded", order), now=LATER + timedelta(hours=2))
    assert waiting_for(refunded.after) is None

    [refused] = on_fact(cancelled, fact("failed", order), now=LATER + timedelta(hours=1))
    assert waiting_for(refused.after) is None


def test_a_cancelled_order_waits_until_its_stock_is_released() -> None:
    order = placed()
    *_, paid = on_fact(order, fact("succeeded", order), now=NOW)
    [reserved] = on_fact(paid.after, fact("reserved", order), now=NOW)
    cancelled = cancel(reserved.after, reason=CancelReason.CUSTOMER, now=NOW).after
    [refunded] = on_fact(cancelled, fact("refunded", order), now=LATER)
    assert (waiting_for(refunded.after), refunded.after.waiting_since) == (
        WaitingFor.RELEASE,
        LATER,
    )
    [released] = on_fact(refunded.after, fact("released", order), now=LATER)
    assert waiting_for(released.after) is None


def test_an_order_whose_attempts_have_all_failed_waits_for_an_operator() -> None:
    payment = Payment(attempt=ATTEMPTS_MAX, state=PaymentState.FAILED, payment_id=None)
    order = msgspec.structs.replace(placed(), payment=payment)
    wait = current_wait(order, limits=LIMITS, now=NOW)
    assert wait is not None
    assert (wait.awaited, wait.owner) == (WaitingFor.PAY, "operator")
    assert Action.PAY not in allowed_actions(order)
