"""The notification API: what a customer was told, what waits, and what could not be told."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orderflow.messaging.documents import openapi
from orderflow.messaging.http import health, problems
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.notification import repository
from orderflow.services.notification.openapi import TITLE, document
from orderflow.services.notification.views import LIMIT, LIMIT_MAX, NotificationPage

ID_MAX = 256
POSITION_MAX = 2**63 - 1


def application(pool: ConnectionPool, reasons: Reasons) -> Starlette:
    def notifications(request: Request) -> Response:
        order_id, customer_id = _asked_for(request)
        after = _whole(request, "cursor", default=0, most=POSITION_MAX)
        limit = _whole(request, "limit", default=LIMIT, most=LIMIT_MAX, least=1)
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.page(
                cursor, order_id=order_id, customer_id=customer_id, after=after, limit=limit + 1
            )
        shown = found[:limit]
        cursor_behind = str(shown[-1][0]) if len(found) > limit else None
        return json_answer(
            NotificationPage(items=tuple(known for _, known in shown), next_cursor=cursor_behind)
        )

    app = Starlette(
        routes=[
            Route("/notifications", notifications, methods=["GET"]),
            *health.routes(reasons),
            *openapi.routes(document, title=TITLE),
        ],
        exception_handlers=problems.handlers(),
    )
    app.router.redirect_slashes = False
    return app


def _asked_for(request: Request) -> tuple[str, str]:
    """Order and customer; one of them is empty."""
    order_id, customer_id = (
        request.query_params.get(name, "") for name in ("orderId", "customerId")
    )
    if bool(order_id) == bool(customer_id):
        raise problems.invalid("ask for one of orderId and customerId")
    if len(order_id + customer_id) > ID_MAX or "\0" in order_id + customer_id:
        raise problems.invalid(f"an id is at most {ID_MAX} characters, none of them NUL")
    return order_id, customer_id


def _whole(request: Request, name: str, *, default: int, most: int, least: int = 0) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise problems.invalid(f"{name} is a number from {least} to {most}")
    return int(text)
