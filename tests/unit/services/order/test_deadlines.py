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
    Order,
    Payment,
    PaymentState,
    StockState,
    WaitingFor,
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


def test_an_order_waits_for_something_until_it_is_delivered_or_cancelled() -> None:
    ended = {OrderStatus.DELIVERED, OrderStatus.CANCELLED}
    for order in every_order():
        assert (current_wait(order, limits=LIMITS, now=NOW) is None) == (order.status in ended)


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


def test_a_cancelled_order_waits_for_nothing_and_neither_do_facts_that_come_later() -> None:
    order = placed()
    cancelled = cancel(order, reason=CancelReason.CUSTOMER, now=LATER).after
    [change] = on_fact(cancelled, fact("succeeded", order), now=LATER + timedelta(hours=1))
    assert waiting_for(change.after) is None
    assert change.after.waiting_since == LATER
