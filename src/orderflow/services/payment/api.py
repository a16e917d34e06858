"""The payment API: what is recorded of an order's payments, and our books in sum."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import OrderId, order_id_of
from orderflow.messaging.event import read_clock
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.bodies import read_body
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import query_choice, query_identifier, query_value
from orderflow.messaging.postgres import ConnectionPool, reading, writing
from orderflow.services.payment import repository
from orderflow.services.payment.model import Payment, PaymentState
from orderflow.services.payment.open_references import OpenReferences
from orderflow.services.payment.openapi import TITLE, document
from orderflow.services.payment.problem_types import PROBLEM_TYPES
from orderflow.services.payment.repository import PaymentPlace
from orderflow.services.payment.views import (
    LIMIT,
    LIMIT_DEFAULT,
    LedgerSummary,
    PaymentPage,
    WebhookView,
    order_payments,
    payment_view,
)
from orderflow.services.payment.webhooks import (
    WEBHOOKS,
    Forged,
    Signatures,
    Unreadable,
    believe,
    contents,
)


def build_api(
    pool: ConnectionPool, reasons: Reasons, *, webhook_secrets: Sequence[str] = ()
) -> ASGIApp:
    signatures = Signatures(webhook_secrets)
    open_references = OpenReferences(partial(_open_references, pool))

    def get_payments(request: Request) -> Response:
        order_id = _order_id(request)
        with reading(pool) as cursor:
            known = repository.find(cursor, [order_id])
        if order_id not in known:
            raise _not_heard_of()
        return json_answer(order_payments(order_id, known[order_id]))

    def get_page(request: Request) -> Response:
        query = request.query_params
        limit = query_value(query, "limit", LIMIT, default=LIMIT_DEFAULT)
        customer_id, state = query_identifier(query, "customerId"), _state(query)
        item = _PAYMENTS.read(query)
        before = None if item is None else _place(item)

        with reading(pool) as cursor:
            payments = repository.page(
                cursor, customer_id=customer_id, state=state, before=before, limit=limit + 1
            )

        shown, next_cursor = page(payments, limit=limit, cursor_of=_cursor_of)
        items = tuple(map(payment_view, shown))
        return json_answer(PaymentPage(items=items, next_cursor=next_cursor))

    def get_summary(_request: Request) -> Response:
        with reading(pool) as cursor:
            items = repository.summary(cursor)
        return json_answer(LedgerSummary(items=items))

    async def post_webhook(request: Request) -> Response:
        if not signatures:
            raise _no_webhooks()
        body = await read_body(dict(request.headers.raw), request.receive)
        try:
            # Nothing of the body is read before its signature is known to be good.
            webhook_id = signatures.verify(request.headers, body)
        except Forged:
            WEBHOOKS.labels("forged").inc()
            raise _forged() from None

        reference = _reference(body)
        if not (reference and await open_references.contain(reference)):
            return _answer("ignored")
        return await run_in_threadpool(_believe, pool, webhook_id, body)

    routes = [
        Route("/payments", get_page, methods=["GET"]),
        Route("/payments/{order_id}", get_payments, methods=["GET"]),
        Route("/ledger/summary", get_summary, methods=["GET"]),
        Route("/webhooks/provider", post_webhook, methods=["POST"]),
    ]
    return http_api(
        routes, title=TITLE, document=document, reasons=reasons, problem_types=PROBLEM_TYPES
    )


def _open_references(pool: ConnectionPool, references: list[str]) -> set[UUID]:
    with reading(pool) as cursor:
        return repository.open_references(cursor, references)


def _reference(body: bytes) -> str:
    """What a webhook is about; empty, if about nothing that concerns us."""
    try:
        charge, refund = contents(body)
    except Unreadable as error:
        WEBHOOKS.labels("unreadable").inc()
        raise problems.invalid(str(error)[:200]) from error

    if charge is not None:
        return charge.reference
    return refund.reference if refund is not None else ""


def _believe(pool: ConnectionPool, webhook_id: str, body: bytes) -> Response:
    with writing(pool) as cursor:
        effect = believe(cursor, webhook_id, body, now=read_clock())
    return _answer(effect)


def _answer(effect: str) -> Response:
    WEBHOOKS.labels(effect).inc()
    return json_answer(WebhookView(effect=effect))


def _no_webhooks() -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND,
        "webhooks-not-configured",
        "No webhook is believed here",
        "set ORDERFLOW_PAYMENT__PSP__WEBHOOK_SECRETS",
    )


def _forged() -> problems.Problem:
    return problems.problem(
        HTTPStatus.UNAUTHORIZED,
        "webhook-not-authentic",
        "The webhook is not signed by the provider, or not within five minutes",
        WWW_Authenticate="Webhook-Signature",
    )


def _state(query: QueryParams) -> PaymentState | None:
    """The state that is asked for. Raises a problem if that of most, and no customer is named."""
    state = query_choice(query, "state", PaymentState)
    if state not in (None, *repository.FEW) and "customerId" not in query:
        raise problems.invalid(
            f"state without customerId is one that few are in: {', '.join(repository.FEW)}"
        )
    return state


def _cursor_of(payment: Payment) -> str:
    return _PAYMENTS.of(f"{payment.order_id}/{payment.attempt}")


def _place(item: str) -> PaymentPlace | None:
    match = _PLACE.fullmatch(item)
    return (OrderId(match[1]), int(match[2])) if match else None


_PLACE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([1-9][0-9]{0,3})")
_PAYMENTS = Cursors("payments", _place)


def _order_id(request: Request) -> OrderId:
    try:
        return order_id_of(request.path_params["order_id"])
    except ValueError:
        raise _not_heard_of() from None


def _not_heard_of() -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND, "order-not-found", "Payment has not heard of this order"
    )
