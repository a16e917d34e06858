"""The notification API: which messages a customer got, which wait, and which were refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import known_order_id
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import query_choice, query_value
from orderflow.messaging.postgres import ConnectionPool, Cursor, reading
from orderflow.services.notification import repository
from orderflow.services.notification.model import NotificationState
from orderflow.services.notification.openapi import TITLE, document
from orderflow.services.notification.repository import SELDOM, StoredNotification
from orderflow.services.notification.views import LIMIT, LIMIT_MAX, NotificationPage

ID_MAX = 256
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
Read = Callable[[Cursor], list[tuple[int, StoredNotification]]]
"""Reads notifications with their positions."""


def build_api(pool: ConnectionPool, reasons: Reasons) -> ASGIApp:
    def get_page(request: Request) -> Response:
        limit = query_value(request.query_params, "limit", Limit, default=LIMIT)
        cursors, read = _wanted(request.query_params, limit=limit + 1)
        with reading(pool) as cursor:
            rows = read(cursor)

        shown, next_cursor = page(rows, limit=limit, cursor_of=lambda row: cursors.of(str(row[0])))
        items = tuple(notification for _, notification in shown)
        return json_answer(NotificationPage(items=items, next_cursor=next_cursor))

    routes = [Route("/notifications", get_page, methods=["GET"])]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)


def _wanted(query: QueryParams, *, limit: int) -> tuple[Cursors, Read]:
    """The list that is meant: its cursors, and what reads a page of it."""
    order_id, customer_id = _ids(query)
    state = query_choice(query, "state", NotificationState)
    if order_id or customer_id:
        after = int(_POSITIONS.read(query) or 0)
        return _POSITIONS, lambda cursor: repository.page(
            cursor,
            order_id=order_id,
            customer_id=customer_id,
            state=state,
            after=after,
            limit=limit,
        )

    few, item = _demand_few(state), _NEWEST.read(query)
    before = None if item is None else int(item)
    return _NEWEST, lambda cursor: repository.newest(cursor, state=few, before=before, limit=limit)


def _ids(query: QueryParams) -> tuple[str, str]:
    """Order and customer; one of them is empty, or both. Raises a problem if both are given."""
    order_id, customer_id = (query.get(name, "") for name in ("orderId", "customerId"))
    if order_id and customer_id:
        raise problems.invalid("ask for one of orderId and customerId")
    if len(order_id + customer_id) > ID_MAX or "\0" in order_id + customer_id:
        raise problems.invalid(f"an id is at most {ID_MAX} characters, none of them NUL")
    return order_id and known_order_id(order_id), customer_id


def _demand_few(state: NotificationState | None) -> NotificationState:
    """The state that is asked for of all customers. Raises a problem if most mails are in it."""
    if state is None or state not in _FEW:
        raise problems.invalid(
            f"ask for orderId or customerId, or for a state that few are in: {', '.join(_FEW)}"
        )
    return state


_FEW = (NotificationState.PENDING, *SELDOM)
_IS_POSITION = re.compile(r"[0-9]{1,18}").fullmatch
_POSITIONS = Cursors("notifications", _IS_POSITION)
_NEWEST = Cursors("newest-notifications", _IS_POSITION)
