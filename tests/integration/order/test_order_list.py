"""
`GET /orders`: newest first, filtered by customer, status and time, a page at a time, by an index.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from tests.support.order_service import OrderService, order_deployed
from tests.support.stack import Stack

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.services.order import queries
from orderflow.services.order.config import DeadlineSettings
from orderflow.services.order.deadlines import cutoffs
from orderflow.services.order.queries import OrderFilter

NO_ORDER = OrderId("00000000-0000-0000-0000-000000000000")


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        deployed.start("relay")
        yield deployed


@pytest.fixture(scope="module")
def api(service: OrderService) -> httpx2.Client:
    return service.start("api", ORDERFLOW_ORDER__DEADLINES__PAY_S="0.001").client


@pytest.fixture
def customer() -> str:
    return f"customer-{uuid4().hex[:8]}"


def placed(
    api: httpx2.Client, customer: str, count: int, *, path: str = "/api/orders"
) -> list[dict[str, Any]]:
    body: dict[str, Any] = {"customerId": customer}
    if path == "/orders":
        body["lines"] = [{"sku": "MOUSE-01", "quantity": 1}]
    answers = [api.post(path, json=body) for _ in range(count)]
    return [api.get(answer.headers["location"]).json() for answer in answers]


def page(api: httpx2.Client, **filters: str | int) -> dict[str, Any]:
    answer = api.get("/orders", params=filters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def pages(api: httpx2.Client, **filters: str | int) -> Iterator[list[str]]:
    cursor: str | None = ""
    while cursor is not None:
        body = page(api, **filters, **({"cursor": cursor} if cursor else {}))
        yield [order["orderId"] for order in body["items"]]
        cursor = body["nextCursor"]


def test_pages_show_each_order_once_newest_first_while_new_ones_come_in(
    api: httpx2.Client, customer: str
) -> None:
    orders = [order["orderId"] for order in placed(api, customer, 7)]
    seen: list[list[str]] = []
    for ids in pages(api, customerId=customer, limit=3):
        seen.append(ids)
        placed(api, customer, 1)
    assert [len(ids) for ids in seen] == [3, 3, 1]
    assert [order for ids in seen for order in ids] == orders[::-1]


def test_an_order_in_a_list_is_the_order_and_what_it_waits_for(
    api: httpx2.Client, customer: str
) -> None:
    [order] = placed(api, customer, 1)
    [listed] = page(api, customerId=customer)["items"]
    waiting = listed.pop("waiting")
    order.pop("waiting", None)
    assert listed == order
    assert (waiting["for"], waiting["owner"], waiting["since"]) == (
        "PAY",
        "customer",
        order["createdAt"],
    )
    assert order["orderId"] in waiting["nextAction"]


def test_filters_take_away_what_they_name_and_nothing_else(
    api: httpx2.Client, customer: str
) -> None:
    created, requested, cancelled = (
        placed(api, customer, 2, path=path) for path in ("/api/orders", "/orders", "/api/orders")
    )
    for order in cancelled:
        api.post(f"/orders/{order['orderId']}/cancel")

    def found(**filters: str | int) -> set[str]:
        return {
            order for ids in pages(api, customerId=customer, limit=2, **filters) for order in ids
        }

    def ids(*groups: list[dict[str, Any]]) -> set[str]:
        return {order["orderId"] for group in groups for order in group}

    assert found() == found(status="CREATED,CANCELLED") == ids(created, requested, cancelled)
    assert found(status="CREATED") == ids(created, requested)
    assert found(status="CANCELLED") == ids(cancelled)
    assert found(status="PAID,DELIVERED") == set()
    assert found(stuck="true") == ids(created), (
        "of those that wait for a pay command the deadline has passed"
    )
    assert found(stuck="true", status="CANCELLED") == set()
    middle = requested[0]["createdAt"]
    at_or_after = {
        order["orderId"] for order in requested + cancelled if order["createdAt"] >= middle
    }
    assert found(**{"from": middle}) == at_or_after
    assert found(to=middle) == ids(created, requested, cancelled) - at_or_after
    assert found(**{"from": middle, "to": middle}) == set()


def test_stuck_orders_come_once_the_longest_wait_first_while_more_become_stuck(
    api: httpx2.Client, customer: str
) -> None:
    orders = [order["orderId"] for order in placed(api, customer, 5)]
    seen: list[str] = []
    for ids in pages(api, customerId=customer, stuck="true", limit=2):
        seen += ids
        if len(seen) < 6:
            orders += [order["orderId"] for order in placed(api, customer, 1)]
    assert seen == orders


def test_a_wrong_filter_is_a_problem_that_names_it(api: httpx2.Client) -> None:
    for name, value in (
        ("limit", "101"),
        ("status", "paid"),
        ("from", "2026-01-31"),
        ("statsu", "PAID"),
    ):
        answer = api.get("/orders", params={name: value})
        assert (answer.status_code, answer.headers["content-type"]) == (
            422,
            "application/problem+json",
        )
        assert answer.json()["type"] == "/problems/invalid-request"
        assert name in answer.json()["detail"]


def test_no_page_reads_more_orders_than_it_needs(service: OrderService) -> None:
    """On 40,000 orders, statistics and all: neither a scan of the whole table nor a sort of it."""
    now = datetime.now(UTC)
    with service.connection() as connection, connection.cursor() as cursor:
        cursor.execute(_MANY)
        cursor.execute("ANALYZE orders")
        overdue = cutoffs(DeadlineSettings().limits, now=now)
        for wanted in (
            OrderFilter(limit=51),
            OrderFilter(limit=51, customer_id=CustomerId("many-7")),
            OrderFilter(limit=51, statuses=(OrderStatus.SHIPPED,)),
            OrderFilter(limit=51, statuses=(OrderStatus.CREATED, OrderStatus.CANCELLED)),
            OrderFilter(limit=51, created_to=now - timedelta(days=60)),
            OrderFilter(
                limit=51, customer_id=CustomerId("many-7"), created_from=now - timedelta(days=1)
            ),
            OrderFilter(limit=51, overdue=overdue),
            OrderFilter(limit=51, overdue=overdue, statuses=(OrderStatus.SHIPPED,)),
            OrderFilter(limit=51, overdue=overdue, customer_id=CustomerId("many-0")),
            OrderFilter(limit=51, overdue=overdue, after=(now - timedelta(days=9), NO_ORDER)),
        ):
            explained = Explaining(cursor)
            queries.page(explained, wanted)  # type: ignore[arg-type]
            assert explained.rows_read <= 1_000, (wanted, explained.plan)
        connection.rollback()


class Explaining:
    """A cursor that explains what it executes, and returns no row."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.plan: list[str] = []
        self.rows_read = 0

    def execute(self, query: bytes, parameters: Any) -> None:
        self._cursor.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + query, parameters)
        [[[rows]]] = self._cursor.fetchall()
        self._count(rows["Plan"])

    def _count(self, plan: dict[str, Any]) -> None:
        self.plan.append(plan["Node Type"])
        if "Scan" in plan["Node Type"]:
            self.rows_read += (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan[
                "Actual Loops"
            ]
        for part in plan.get("Plans", ()):
            self._count(part)

    def __iter__(self) -> Iterator[Any]:
        return islice((), 0)


_MANY = """
INSERT INTO orders (order_id, customer_id, status, version, revision,
                    payment_attempt, payment_state, stock, payment_mode, lines, amount_minor,
                    currency, created_at, updated_at, waiting_for, waiting_since)
SELECT (lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0') || '70008000'
        || lpad(to_hex(n), 12, '0'))::uuid,
       'many-' || n % 1000, status, 1, 1,
       1, 'SUCCEEDED', 'RESERVED', 'AUTOMATIC', '[]', 0,
       'EUR', made, made,
       CASE status WHEN 'PAID' THEN 'SHIP' WHEN 'SHIPPED' THEN 'DELIVER' END,
       CASE WHEN n % 4000 = 0 OR status IN ('DELIVERED', 'CANCELLED') THEN made ELSE now() END
FROM (SELECT n, now() - n * interval '5 minutes' AS made,
             CASE WHEN n % 400 = 0 THEN 'SHIPPED' WHEN n % 5 = 0 THEN 'PAID'
                  WHEN n > 39990 THEN 'CANCELLED' ELSE 'DELIVERED' END AS status
      FROM generate_series(1, 40000) AS n) AS many
"""
