"""What can be asked of `GET /orders`, and what is refused by the name of its parameter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette_problem.error import Problem

from orderflow.contracts.events import OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.services.order.config import DeadlineSettings
from orderflow.services.order.http.list_orders import (
    LIMIT_DEFAULT,
    cursor_of,
    filter_of,
    overdue_cursor_of,
)
from orderflow.services.order.model import Order, WaitingFor, place
from orderflow.services.order.queries import OrderFilter

ORDER_ID = OrderId("0198a0b2-1111-7222-8333-444455556666")
NOW = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
LIMITS = DeadlineSettings().limits


def placed(order_id: OrderId, *, since: datetime) -> Order:
    return place(
        order_id=order_id,
        customer_id=CustomerId("customer-123"),
        lines=(),
        currency="EUR",
        mode=PaymentMode.AUTOMATIC,
        payment_method="pm_ok",
        now=since,
    )


def wanted(query: str) -> OrderFilter:
    return filter_of(QueryParams(query), limits=LIMITS, now=NOW)


def test_nothing_asked_for_is_the_newest_of_all() -> None:
    assert wanted("") == wanted("stuck=false") == OrderFilter(limit=LIMIT_DEFAULT)


def test_all_filters_together() -> None:
    orders = wanted(
        "customerId=customer-123&status=CREATED,PAID&status=SHIPPED"
        "&from=2026-01-30T10:00:00%2B01:00"
        "&to=2026-01-31T00:00:00.5Z&limit=100&stuck=true"
    )

    assert orders.customer_id == "customer-123"
    assert orders.statuses == (OrderStatus.CREATED, OrderStatus.PAID, OrderStatus.SHIPPED)
    assert orders.created_from == datetime(2026, 1, 30, 9, tzinfo=UTC)
    assert orders.created_to == datetime(2026, 1, 31, 0, 0, 0, 500_000, tzinfo=UTC)
    assert orders.limit == 100
    assert orders.overdue is not None
    assert orders.overdue.keys() == {*WaitingFor}
    assert orders.overdue[WaitingFor.PAYMENT] == NOW - timedelta(minutes=30)


@given(st.uuids())
def test_a_cursor_leads_back_to_its_order(order_id: object) -> None:
    order = placed(OrderId(str(order_id)), since=NOW)
    assert wanted(f"cursor={cursor_of(order)}").before == order.order_id


@given(st.uuids(), st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_cursor_of_stuck_orders_leads_back_to_its_wait(order_id: object, since: datetime) -> None:
    order = placed(OrderId(str(order_id)), since=since)
    assert wanted(f"stuck=true&cursor={overdue_cursor_of(order)}").after == (since, order.order_id)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("customerid=customer-123", "customerid"),
        ("customerId=", "customerId"),
        ("customerId=a%00b", "customerId"),
        ("customerId=a&customerId=b", "customerId"),
        ("status=", "status"),
        ("status=paid", "status"),
        ("status=PAID,", "status"),
        ("from=yesterday", "from"),
        ("from=2026-01-31", "from"),
        ("from=2026-01-31T00:00:00", "from"),
        ("to=2026-01-31T00:00:00+01:00", "to"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("stuck=perhaps", "stuck"),
        ("cursor=AAAA", "cursor"),
        ("stuck=true&cursor=AZigshERciKDM0REVVVmZg", "cursor"),
        ("stuck=true&cursor=________________________________", "cursor"),
        (f"stuck=true&cursor={cursor_of(placed(ORDER_ID, since=NOW))}", "cursor"),
        (f"cursor={overdue_cursor_of(placed(ORDER_ID, since=NOW))}", "cursor"),
        ("cursor=AZigshERciKDM0REVVVmZ%0A", "cursor"),
    ],
)
def test_what_is_wrong_is_named(query: str, named: str) -> None:
    with pytest.raises(Problem) as refused:
        wanted(query)
    assert refused.value.status == 422
    assert str(refused.value.detail).startswith(named)
