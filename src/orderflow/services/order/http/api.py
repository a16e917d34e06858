"""The order API as one ASGI application. Reads run in a thread pool."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.measured import ROUTE
from orderflow.messaging.http.problems import invalid
from orderflow.messaging.postgres import ConnectionPool, reading
from orderflow.services.order import repository
from orderflow.services.order.http import problems
from orderflow.services.order.http.openapi import TITLE, document
from orderflow.services.order.http.post_order import ROUTES, PostOrder
from orderflow.services.order.http.requests import order_id_of
from orderflow.services.order.http.views import history_page


class OrderApi:
    """Sends the hot path to `post_order`, all other requests through the router."""

    def __init__(
        self,
        *,
        post_order: PostOrder,
        routes: Sequence[BaseRoute],
        pool: ConnectionPool,
        reasons: Reasons,
    ) -> None:
        self._post_order = post_order
        self._rest: ASGIApp = http_api(
            # In this order: `GET /orders` is in `routes`, its 405 for other methods in `_reads`.
            [*routes, *_reads(pool)],
            title=TITLE,
            document=document,
            reasons=reasons,
            translate=problems.from_error,
            expected=problems.EXPECTED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in ROUTES:
            scope[ROUTE] = scope["path"]
            await self._post_order(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def _reads(pool: ConnectionPool) -> list[BaseRoute]:
    return [
        Route(
            "/orders/{order_id}/history",
            lambda request: _get_history(pool, request),
            methods=["GET"],
        ),
        *_other_methods(),
    ]


def _get_history(pool: ConnectionPool, request: Request) -> Response:
    order_id, facts_too = order_id_of(request), _flag(request, "all")
    with reading(pool) as cursor:
        entries = repository.history(cursor, order_id, facts_too=facts_too)
    if not entries:
        raise problems.no_such_order()
    return json_answer(history_page(entries))


def _other_methods() -> list[BaseRoute]:
    """405 for other methods on the hot path's URLs, which the router does not know."""
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
