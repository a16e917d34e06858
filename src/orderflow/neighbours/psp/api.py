"""The provider's routes."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orderflow.messaging.http import health, routing
from orderflow.messaging.http.bodies import decoded
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.measured import ROUTE
from orderflow.messaging.http.problems import Problem
from orderflow.neighbours.psp.admission import Refusal
from orderflow.neighbours.psp.faults import EFFECTS, Faults, Operation
from orderflow.neighbours.psp.ledger import ChargeRequest, RefundRequest, VoidRequest
from orderflow.neighbours.psp.provider import Answer, Provider
from orderflow.neighbours.psp.tokens import ChargeStatus
from orderflow.neighbours.psp.views import ledger_view, page_view, references_view

CHARGES = "/charges"
BODY_BYTES_MAX = 16_384
REFERENCES_MAX = 500
PAGE_MAX = 2_000
"""References in one question for the ledger, and entries in one page of it."""

T = TypeVar("T")


class SettleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`status`: CAPTURED or DECLINED; without it, what the test token says."""

    status: ChargeStatus | None = None

    def __post_init__(self) -> None:
        if self.status is ChargeStatus.PENDING:
            raise ValueError("a charge settles as CAPTURED or DECLINED")


def build_api(provider: Provider) -> ASGIApp:
    async def charge(request: Request) -> Response:
        _admit(request, Operation.CHARGE)
        key, body = _key(request), await _body(request, ChargeRequest)
        return _answered(await provider.charge(key, body))

    async def refund(request: Request) -> Response:
        _admit(request, Operation.REFUND)
        key, body = _key(request), await _body(request, RefundRequest)
        return _answered(await provider.refund(key, body))

    async def void(request: Request) -> Response:
        reference = request.path_params["reference"]
        _admit(request, Operation.VOID, reference)
        return _answered(await provider.void(reference, await _body(request, VoidRequest)))

    async def find(request: Request) -> Response:
        reference = request.query_params.get("reference", "")
        _admit(request, Operation.FIND, reference)
        if not reference:
            raise Refusal(422, "reference-missing", "ask for GET /charges?reference=…")
        return _answered(await provider.find(reference))

    def _admit(request: Request, operation: Operation, reference: str = "") -> None:
        provider.admit(operation, request.headers.get("authorization"), reference=reference)

    routes = [
        Route(CHARGES, charge, methods=["POST"]),
        Route(CHARGES, find, methods=["GET"]),
        Route("/charges/{reference}/void", void, methods=["POST"]),
        Route("/refunds", refund, methods=["POST"]),
        *_routes_of_tests(provider),
        *health.routes(list),
    ]
    routes = routing.with_other_methods(routes)
    handlers = {Refusal: _refused, HTTPException: _not_served}
    return _at_once(charge, otherwise=health.without_redirects(routes, handlers))


def _at_once(charge: Callable[[Request], Awaitable[Response]], *, otherwise: ASGIApp) -> ASGIApp:
    """
    `otherwise`, but for POST /charges, which nearly all requests are: that one does without the
    framework's routes and middleware, half of its cost.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", CHARGES):
            await otherwise(scope, receive, send)
            return

        scope[ROUTE], scope["endpoint"] = CHARGES, charge
        request = Request(scope, receive)
        try:
            response = await charge(request)
        except Refusal as refusal:
            response = await _refused(request, refusal)
        await response(scope, receive, send)

    return application


def _routes_of_tests(provider: Provider) -> list[Route]:
    """What no real provider has. It needs no API key."""

    async def settle(request: Request) -> Response:
        body = await _body(request, SettleRequest)
        return _answered(provider.settle(request.path_params["reference"], body.status))

    async def ledger(request: Request) -> Response:
        references = request.query_params.getlist("reference")
        if len(references) > REFERENCES_MAX:
            raise Refusal(422, "too-many-references", f"at most {REFERENCES_MAX} at a time")
        if references:
            return json_answer(references_view(provider.ledger, references))

        if "after" in request.query_params:
            after = _whole_number(request, "after", 0, most=sys.maxsize)
            limit = _whole_number(request, "limit", PAGE_MAX, most=PAGE_MAX)
            return json_answer(page_view(provider.ledger, after=after, limit=limit))
        return json_answer(ledger_view(provider.ledger))

    async def calls(_request: Request) -> Response:
        return json_answer({"items": provider.calls()})

    async def webhooks(_request: Request) -> Response:
        attempts = [] if provider.webhooks is None else provider.webhooks.attempts()
        return json_answer({"items": attempts})

    async def faults(request: Request) -> Response:
        if request.method == "PUT":
            provider.plan.set(await _body(request, Faults))
        return json_answer(provider.plan.view())

    return [
        Route("/charges/{reference}/settle", settle, methods=["POST"]),
        Route("/ledger", ledger, methods=["GET"]),
        Route("/calls", calls, methods=["GET"]),
        Route("/webhooks", webhooks, methods=["GET"]),
        Route("/faults", faults, methods=["GET", "PUT"]),
    ]


async def _body(request: Request, kind: type[T]) -> T:
    """The body, whatever its content type: this API is not one of ours, and has its own errors."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES_MAX:
            raise Refusal(413, "body-too-large", f"at most {BODY_BYTES_MAX} bytes")
    try:
        return decoded(msgspec.json.Decoder(kind), data)
    except Problem as problem:
        is_json = problem.status == HTTPStatus.UNPROCESSABLE_ENTITY
        why = str(problem.detail) if is_json else "the body is not JSON"
        raise Refusal(422, "invalid-request", why) from problem


def _whole_number(request: Request, name: str, default: int, *, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) <= most):
        raise Refusal(422, "invalid-request", f"{name} is a whole number from 0 to {most}")
    return int(text)


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if not 1 <= len(key) <= 255:
        raise Refusal(400, "key-missing", "send an Idempotency-Key of 1 to 255 characters")
    return key


def _answered(answer: Answer) -> Response:
    response = EFFECTS[answer.rule.fault].reply(answer.status, answer.body)
    if answer.repeated:
        response.headers["Idempotent-Replayed"] = "true"
    if answer.rule.retry_after_s is not None:
        response.headers["Retry-After"] = str(answer.rule.retry_after_s)
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    response = json_answer({"error": error.slug, "detail": error.detail}, status=error.status)
    response.headers.update(error.headers)
    return response


async def _not_served(request: Request, error: Exception) -> Response:
    """A path or method that there is not, in the form of this API's other refusals."""
    assert isinstance(error, HTTPException)
    slug = error.detail.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    return await _refused(request, Refusal(error.status_code, slug, error.detail, headers=headers))
