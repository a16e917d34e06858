"""The payment API: what is recorded of an order's payments, and our books in sum."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import OrderId, order_id_of
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.postgres import ConnectionPool, reading
from orderflow.services.payment import repository
from orderflow.services.payment.openapi import TITLE, document
from orderflow.services.payment.views import LedgerSummary, order_payments


def build_api(pool: ConnectionPool, reasons: Reasons) -> ASGIApp:
    def get_payments(request: Request) -> Response:
        order_id = _order_id(request)
        with reading(pool) as cursor:
            known = repository.find(cursor, [order_id])
        if order_id not in known:
            raise _not_heard_of()
        return json_answer(order_payments(order_id, known[order_id]))

    def get_summary(_request: Request) -> Response:
        with reading(pool) as cursor:
            items = repository.summary(cursor)
        return json_answer(LedgerSummary(items=items))

    routes = [
        Route("/payments/{order_id}", get_payments, methods=["GET"]),
        Route("/ledger/summary", get_summary, methods=["GET"]),
    ]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)


def _order_id(request: Request) -> OrderId:
    try:
        return order_id_of(request.path_params["order_id"])
    except ValueError:
        raise _not_heard_of() from None


def _not_heard_of() -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND, "order-not-found", "Payment has not heard of this order"
    )
