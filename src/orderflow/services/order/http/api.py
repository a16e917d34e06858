"""The order API's routes. Reads run in a thread pool; writes are in `placing` and `commanding`."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.problems import invalid
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.order import repository
from orderflow.services.order.http import problems
from orderflow.services.order.http.openapi import TITLE, document
from orderflow.services.order.http.post_order import ROUTES, Placing
from orderflow.services.order.http.requests import order_id_of
from orderflow.services.order.http.views import ProductPage, history_page, order_view


class OrderApi:
    """The ASGI application: the hot path first, everything else through the router, `routes` before our own."""

    def __init__(
        self,
        *,
        placing: Placing,
        routes: Sequence[BaseRoute],
        pool: ConnectionPool,
        reasons: Reasons,
    ) -> None:
        self._placing = placing
        self._rest: ASGIApp = http_api(
            [*routes, *_reads(pool)],
            title=TITLE,
            document=document,
            reasons=reasons,
            translate=problems.from_error,
            expected=problems.EXPECTED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in ROUTES:
            await self._placing(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def _reads(pool: ConnectionPool) -> list[BaseRoute]:
    def get_order(request: Request) -> Response:
        order_id = order_id_of(request)
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            order = repository.find(cursor, order_id)
        if order is None:
            raise problems.no_such_order()
        return json_answer(order_view(order))

    def get_history(request: Request) -> Response:
        order_id, facts_too = order_id_of(request), _flag(request, "all")
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            entries = repository.history(cursor, order_id, facts_too=facts_too)
        if not entries:
            raise problems.no_such_order()
        return json_answer(history_page(entries))

    def get_products(_request: Request) -> Response:
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            products = repository.catalogue(cursor)
        return json_answer(ProductPage(items=tuple(products.values())))

    return [
        Route("/orders/{order_id}", get_order, methods=["GET"]),
        Route("/orders/{order_id}/history", get_history, methods=["GET"]),
        Route("/products", get_products, methods=["GET"]),
        *_other_methods(),
    ]


def _other_methods() -> list[BaseRoute]:
    """What may be done besides, where orders are placed: the router does not know of the hot path."""
    allowed = {"/orders": "GET, POST", "/api/orders": "POST"}

    def refuse(request: Request) -> Response:
        raise HTTPException(405, headers={"Allow": allowed[request.url.path]})

    return [
        Route(path, refuse, methods=["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]) for path in ROUTES
    ]


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise invalid(f"{name} is true or false, not {value!r}")
    return value == "true"
