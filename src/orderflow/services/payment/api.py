"""The payment API: what is recorded of an order's payments, and our books in sum."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import OrderId
from orderflow.messaging import observability, problems
from orderflow.messaging.observability import Reasons
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.payment import repository
from orderflow.services.payment.model import Known, Payment


class RefundView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    refund_id: str
    state: str
    amount_minor: int
    reason: str
    provider_reference: str | None
    created_at: datetime
    settled_at: datetime | None


class PaymentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    payment_id: str
    attempt: int
    state: str
    amount_minor: int
    currency: str
    payment_method: str
    provider_reference: str | None
    reason: str | None
    message: str | None
    created_at: datetime
    settled_at: datetime | None
    refund: RefundView | None


class OrderPayments(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`closed`: the order was cancelled, nothing will be charged any more."""

    order_id: str
    closed: bool
    payments: tuple[PaymentView, ...]


class LedgerSummary(msgspec.Struct, frozen=True, kw_only=True):
    items: list[repository.Sum]


def app(pool: ConnectionPool, reasons: Reasons) -> ASGIApp:
    def get_payments(request: Request) -> Response:
        order_id = _order_id(request)
        with unavailable_when_transient(), pool.connection() as connection, connection.cursor() as cursor:
            found = repository.find(cursor, [order_id])
        if order_id not in found:
            raise _not_heard_of()
        return observability.json(_view(order_id, found[order_id]))

    def get_summary(_request: Request) -> Response:
        with unavailable_when_transient(), pool.connection() as connection, connection.cursor() as cursor:
            return observability.json(LedgerSummary(items=repository.summary(cursor)))

    return Starlette(
        routes=[
            Route("/payments/{order_id}", get_payments, methods=["GET"]),
            Route("/ledger/summary", get_summary, methods=["GET"]),
            *observability.routes(reasons),
        ],
        exception_handlers=problems.handlers(),
    )


def _view(order_id: OrderId, known: Known) -> OrderPayments:
    return OrderPayments(
        order_id=order_id, closed=known.closed, payments=tuple(_payment(payment) for payment in known.payments)
    )


def _payment(payment: Payment) -> PaymentView:
    return msgspec.convert(payment, PaymentView, from_attributes=True)


def _order_id(request: Request) -> OrderId:
    try:
        return OrderId(str(UUID(request.path_params["order_id"])))
    except ValueError:
        raise _not_heard_of() from None


def _not_heard_of() -> problems.Problem:
    return problems.problem(HTTPStatus.NOT_FOUND, "order-not-found", "Payment has not heard of this order")
