"""The order API as one ASGI application. Reads run in a thread pool."""

from __future__ import annotations

from collections.abc import Sequence

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
from orderflow.services.order.http.problem_types import PROBLEM_TYPES
from orderflow.services.order.http.requests import order_id_of
from orderflow.services.order.http.views import history_page

API = "/api"
"""Whatever can be read or commanded is there as well, so that a client needs one prefix only."""


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
            _under_api_too([*routes, *_reads(pool), *_hot_path(post_order)]),
            title=TITLE,
            document=document,
            reasons=reasons,
            translate=problems.from_error,
            expected=problems.EXPECTED,
            problem_types=PROBLEM_TYPES,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_hot(scope):
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
        )
    ]


def _get_history(pool: ConnectionPool, request: Request) -> Response:
    order_id, facts_too = order_id_of(request), _flag(request, "all")
    with reading(pool) as cursor:
        entries = repository.history(cursor, order_id, facts_too=facts_too)
    if not entries:
        raise problems.no_such_order()
    return json_answer(history_page(entries))


def _under_api_too(routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The routes, and each of them under `/api`, unless something else stands there."""
    own = [route for route in routes if isinstance(route, Route)]
    taken = {(route.path, method) for route in own for method in route.methods or ()}
    mirrored = [
        Route(f"{API}{route.path}", route.endpoint, methods=route.methods)
        for route in own
        if not route.path.startswith(API)
        and not any((f"{API}{route.path}", method) in taken for method in route.methods or ())
    ]
    return [*routes, *mirrored]


def _is_hot(scope: Scope) -> bool:
    """With parameters a request goes through the router, which refuses them."""
    return scope["method"] == "POST" and scope["path"] in ROUTES and not scope["query_string"]


def _hot_path(post_order: PostOrder) -> list[BaseRoute]:
    """For the router, which knows by them which methods there are."""
    return [Route(path, post_order, methods=["POST"]) for path in ROUTES]


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise invalid(f"{name} is true or false, not {value!r}")
    return value == "true"
