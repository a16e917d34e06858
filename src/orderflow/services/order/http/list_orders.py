"""
`GET /orders`: newest first, filtered, a page at a time; with `stuck`, longest wait first.
`GET /orders/{orderId}`: one of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import query_choices, query_moment, query_value
from orderflow.messaging.http.problems import invalid
from orderflow.messaging.postgres import ConnectionPool, reading
from orderflow.services.order import queries, repository
from orderflow.services.order.deadlines import Limits, cutoffs
from orderflow.services.order.http.problems import no_such_order
from orderflow.services.order.http.requests import Identifier, order_id_of
from orderflow.services.order.http.views import OrderPage, OrderViews
from orderflow.services.order.model import Order
from orderflow.services.order.queries import OrderFilter, WaitPosition

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
STATUS = "status"
NAMES = ("customerId", STATUS, "from", "to", "stuck", "limit", "cursor")


class ListOrders:
    """The routes that read orders. `limits`: how long an order may wait before it is stuck."""

    def __init__(self, pool: ConnectionPool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._views = OrderViews(limits)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/orders", self.get_page, methods=["GET"]),
            Route("/orders/{order_id}", self.get_order, methods=["GET"]),
        ]

    def get_order(self, request: Request) -> Response:
        order_id = order_id_of(request)
        with reading(self._pool) as cursor:
            order = repository.find(cursor, order_id)
        if order is None:
            raise no_such_order()
        return self._views.answer(order)

    def get_page(self, request: Request) -> Response:
        now = datetime.now(UTC)
        wanted = filter_of(request.query_params, limits=self._limits, now=now)
        with reading(self._pool) as cursor:
            orders = queries.page(cursor, replace(wanted, limit=wanted.limit + 1))

        end_of = cursor_of if wanted.overdue is None else overdue_cursor_of
        shown, next_cursor = page(orders, limit=wanted.limit, cursor_of=end_of)
        items = tuple(self._views.of(order, now=now) for order in shown)
        return json_answer(OrderPage(items=items, next_cursor=next_cursor))


def filter_of(query: QueryParams, *, limits: Limits, now: datetime) -> OrderFilter:
    """The query as a filter. Raises a problem (422) that names the parameter that is wrong."""
    for name, _ in query.multi_items():
        if name not in NAMES:
            raise invalid(f"{name} is no filter; there are {', '.join(NAMES)}")
        if name != STATUS and len(query.getlist(name)) > 1:
            raise invalid(f"{name} can be given once")

    customer_id = query_value(query, "customerId", Identifier)
    is_overdue = query_value(query, "stuck", bool)
    return OrderFilter(
        limit=query_value(
            query, "limit", Annotated[int, Meta(ge=1, le=LIMIT_MAX)], default=LIMIT_DEFAULT
        ),
        customer_id=None if customer_id is None else CustomerId(customer_id),
        statuses=query_choices(query, STATUS, OrderStatus),
        created_from=query_moment(query, "from"),
        created_to=query_moment(query, "to"),
        before=None if is_overdue else _before(query),
        overdue=cutoffs(limits, now=now) if is_overdue else None,
        after=_after(query) if is_overdue else None,
    )


def cursor_of(order: Order) -> str:
    """The cursor of the page after this order, newest first."""
    return _NEWEST.of(order.order_id)


def overdue_cursor_of(order: Order) -> str:
    """The cursor of the page after this order, longest wait first."""
    since = (order.waiting_since - _EPOCH) // timedelta(microseconds=1)
    return _OVERDUE.of(f"{since}/{order.order_id}")


def _before(query: QueryParams) -> OrderId | None:
    item = _NEWEST.read(query)
    return None if item is None else OrderId(item)


def _after(query: QueryParams) -> WaitPosition | None:
    item = _OVERDUE.read(query)
    return None if item is None else _wait_position(item)


def _wait_position(item: str) -> WaitPosition | None:
    match = _WAIT.fullmatch(item)
    if match is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(match[1])), OrderId(match[2])
    except OverflowError:
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NEWEST = Cursors("orders", re.compile(_UUID).fullmatch)
_WAIT = re.compile(rf"([0-9]{{1,18}})/({_UUID})")
_OVERDUE = Cursors("overdue-orders", _wait_position)
