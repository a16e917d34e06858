"""The payment API: what is recorded of an order's payments, and our books in sum."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orderflow.contracts.ids import OrderId
from orderflow.messaging.documents import openapi
from orderflow.messaging.http import health, problems
from orderflow.messaging.http.health import Reasons
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.payment import repository
from orderflow.services.payment.openapi import TITLE, document
from orderflow.services.payment.views import LedgerSummary, order_payments


def app(pool: ConnectionPool, reasons: Reasons) -> Starlette:
    def get_payments(request: Request) -> Response:
        order_id = _order_id(request)
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.find(cursor, [order_id])
        if order_id not in found:
            raise _not_heard_of()
        return health.json_answer(order_payments(order_id, found[order_id]))

    def get_summary(_request: Request) -> Response:
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            return health.json_answer(LedgerSummary(items=repository.summary(cursor)))

    return Starlette(
        routes=[
            Route("/payments/{order_id}", get_payments, methods=["GET"]),
            Route("/ledger/summary", get_summary, methods=["GET"]),
            *health.routes(reasons),
            *openapi.routes(document, title=TITLE),
        ],
        exception_handlers=problems.handlers(),
    )


def _order_id(request: Request) -> OrderId:
    try:
        return OrderId(str(UUID(request.path_params["order_id"])))
    except ValueError:
        raise _not_heard_of() from None


def _not_heard_of() -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND, "order-not-found", "Payment has not heard of this order"
    )
