"""`GET /orders`: newest first, filtered, a page at a time."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.parameters import query_value
from orderflow.messaging.http.problems import invalid
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.order import queries
from orderflow.services.order.deadlines import Limits, cutoffs, waiting
from orderflow.services.order.http.requests import Identifier
from orderflow.services.order.http.views import OrderPage, order_view
from orderflow.services.order.queries import Wanted

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
STATUS = "status"
NAMES = ("customerId", STATUS, "from", "to", "stuck", "limit", "cursor")

Moment = Annotated[datetime, Meta(tz=True)]


class Listing:
    """`limits`: how long an order may wait; `stuck=true` wants those beyond."""

    def __init__(self, pool: ConnectionPool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits

    def routes(self) -> list[BaseRoute]:
        return [Route("/orders", self.get_page, methods=["GET"])]

    def get_page(self, request: Request) -> Response:
        now = datetime.now(UTC)
        wanted = wanted_of(request.query_params, limits=self._limits, now=now)
        one_more = msgspec.structs.replace(wanted, limit=wanted.limit + 1)
        with (
            unavailable_when_transient(),
            self._pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = queries.page(cursor, one_more)
        shown = found[: wanted.limit]
        return json_answer(
            OrderPage(
                items=tuple(
                    order_view(order, waiting=waiting(order, limits=self._limits, now=now))
                    for order in shown
                ),
                next_cursor=cursor_of(shown[-1].order_id) if len(found) > len(shown) else None,
            )
        )


def wanted_of(query: QueryParams, *, limits: Limits, now: datetime) -> Wanted:
    """What is asked for. Raises a problem that names the parameter that is unknown, repeated or wrong."""
    sent = query.multi_items()
    for name in (name for name, _ in sent):
        if name not in NAMES:
            raise invalid(f"{name} is no filter; there are {', '.join(NAMES)}")
        if name != STATUS and len(query.getlist(name)) > 1:
            raise invalid(f"{name} can be given once")
    statuses = [status for value in query.getlist(STATUS) for status in value.split(",")]
    customer_id = query_value(query, "customerId", Identifier)
    before = query.get("cursor")
    return Wanted(
        limit=query_value(
            query, "limit", Annotated[int, Meta(ge=1, le=LIMIT_MAX)], default=LIMIT_DEFAULT
        ),
        customer_id=None if customer_id is None else CustomerId(customer_id),
        statuses=tuple(_status(status) for status in statuses),
        created_from=query_value(query, "from", Moment),
        created_to=query_value(query, "to", Moment),
        before=None if before is None else _order_id(before),
        overdue=cutoffs(limits, now=now) if query_value(query, "stuck", bool) else None,
    )


def _status(value: str) -> OrderStatus:
    try:
        return OrderStatus(value)
    except ValueError:
        raise invalid(f"{STATUS} is one of {', '.join(OrderStatus)}, not {value!r}") from None


def cursor_of(order_id: OrderId) -> str:
    return urlsafe_b64encode(UUID(order_id).bytes).rstrip(b"=").decode()


def _order_id(cursor: str) -> OrderId:
    if not _CURSOR.fullmatch(cursor):
        raise invalid("cursor is the nextCursor of the page before")
    return OrderId(str(UUID(bytes=urlsafe_b64decode(cursor + "=="))))


_CURSOR = re.compile(r"[A-Za-z0-9_-]{22}")
