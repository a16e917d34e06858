"""The fulfilment API's routes: what has to be sent, and what became of it."""

from __future__ import annotations

import re
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.messaging.documents import openapi
from orderflow.messaging.http import health, problems
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.parameters import query_value
from orderflow.messaging.http.problems import Problem, problem
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.fulfilment import repository
from orderflow.services.fulfilment.model import ShipmentStatus
from orderflow.services.fulfilment.openapi import TITLE, document
from orderflow.services.fulfilment.views import LIMIT, LIMIT_DEFAULT, ShipmentPage, shipment_view


def application(pool: ConnectionPool, reasons: Reasons) -> Starlette:
    app = Starlette(
        routes=[
            *_routes(pool),
            *health.routes(reasons),
            *openapi.routes(document, title=TITLE),
        ],
        exception_handlers=problems.handlers(),
    )
    app.router.redirect_slashes = False
    return app


def _routes(pool: ConnectionPool) -> list[BaseRoute]:
    def get_page(request: Request) -> Response:
        status, after = _status(request), _cursor(request)
        limit = query_value(request.query_params, "limit", LIMIT, default=LIMIT_DEFAULT)
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.page(cursor, status=status, after=after, limit=limit + 1)
        items = tuple(shipment_view(one) for one in found[:limit])
        return json_answer(
            ShipmentPage(
                items=items, next_cursor=items[-1].order_id if len(found) > limit else None
            )
        )

    def get_shipment(request: Request) -> Response:
        order_id = request.path_params["order_id"]
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.find(cursor, order_id) if _ORDER_ID.fullmatch(order_id) else None
        if found is None:
            raise no_such_shipment()
        return json_answer(shipment_view(found))

    return [
        Route("/shipments", get_page, methods=["GET"]),
        Route("/shipments/{order_id}", get_shipment, methods=["GET"]),
    ]


def no_such_shipment() -> Problem:
    return problem(
        HTTPStatus.NOT_FOUND, "shipment-not-found", "Nothing was ever to be sent for such an order"
    )


def _status(request: Request) -> ShipmentStatus | None:
    asked = request.query_params.get("status")
    if asked is None:
        return None
    try:
        return ShipmentStatus(asked)
    except ValueError:
        raise problems.invalid(
            f"status is one of {', '.join(ShipmentStatus)}, not {asked!r}"
        ) from None


def _cursor(request: Request) -> str:
    asked = request.query_params.get("cursor", "")
    if asked and not _ORDER_ID.fullmatch(asked):
        raise problems.invalid("cursor is the nextCursor of the page before")
    return asked


_ORDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}")
"""What inventory takes for an order id, too."""
