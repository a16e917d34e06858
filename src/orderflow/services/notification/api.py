"""The notification API: which messages a customer got, which wait, and which were refused."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import known_order_id
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import query_value
from orderflow.messaging.postgres import ConnectionPool, reading
from orderflow.services.notification import repository
from orderflow.services.notification.openapi import TITLE, document
from orderflow.services.notification.views import LIMIT, LIMIT_MAX, NotificationPage

ID_MAX = 256
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]


def build_api(pool: ConnectionPool, reasons: Reasons) -> ASGIApp:
    def get_page(request: Request) -> Response:
        order_id, customer_id = _order_or_customer(request)
        after = int(_POSITIONS.read(request.query_params) or 0)
        limit = query_value(request.query_params, "limit", Limit, default=LIMIT)

        with reading(pool) as cursor:
            rows = repository.page(
                cursor, order_id=order_id, customer_id=customer_id, after=after, limit=limit + 1
            )

        shown, next_cursor = page(
            rows, limit=limit, cursor_of=lambda row: _POSITIONS.of(str(row[0]))
        )
        items = tuple(notification for _, notification in shown)
        return json_answer(NotificationPage(items=items, next_cursor=next_cursor))

    routes = [Route("/notifications", get_page, methods=["GET"])]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)


def _order_or_customer(request: Request) -> tuple[str, str]:
    """Order and customer; one of them is empty. Raises a problem unless exactly one is given."""
    order_id, customer_id = (
        request.query_params.get(name, "") for name in ("orderId", "customerId")
    )
    if bool(order_id) == bool(customer_id):
        raise problems.invalid("ask for one of orderId and customerId")
    if len(order_id + customer_id) > ID_MAX or "\0" in order_id + customer_id:
        raise problems.invalid(f"an id is at most {ID_MAX} characters, none of them NUL")
    return order_id and known_order_id(order_id), customer_id


_POSITIONS = Cursors("notifications", re.compile(r"[0-9]{1,18}").fullmatch)
