"""The provider's routes."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from orderflow.messaging.http import health
from orderflow.messaging.http.health import json_answer
from orderflow.neighbours.psp.faults import Faults
from orderflow.neighbours.psp.ledger import (
    ChargeRequest,
    RefundRequest,
    Refusal,
    VoidRequest,
    ledger_view,
)
from orderflow.neighbours.psp.provider import Answer, Provider

BODY_BYTES_MAX = 16_384

T = TypeVar("T")


class NoReply(Response):
    """Resets the connection, as when a reply, or its request, is lost."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # ASGI has no message for this; the server's `receive` is a method of an object that has the
        # transport.
        receive.__self__.transport.abort()  # type: ignore[attr-defined]
        while (await receive())["type"] != "http.disconnect":
            pass


def build_api(provider: Provider) -> Starlette:
    async def charge(request: Request) -> Response:
        key, body = _key(request), await _body(request, ChargeRequest)
        return _answered(await provider.charge(key, body))

    async def refund(request: Request) -> Response:
        key, body = _key(request), await _body(request, RefundRequest)
        return _answered(await provider.refund(key, body))

    async def void(request: Request) -> Response:
        body = await _body(request, VoidRequest)
        return _answered(await provider.void(request.path_params["reference"], body))

    async def find(request: Request) -> Response:
        reference = request.query_params.get("reference")
        if not reference:
            raise Refusal(422, "reference-missing", "ask for GET /charges?reference=…")
        return _answered(provider.find(reference))

    async def ledger(_request: Request) -> Response:
        return json_answer(ledger_view(provider.ledger))

    async def calls(_request: Request) -> Response:
        return json_answer({"items": provider.calls()})

    async def faults(request: Request) -> Response:
        if request.method == "PUT":
            provider.faults = await _body(request, Faults)
        return json_answer(provider.faults)

    routes = [
        Route("/charges", charge, methods=["POST"]),
        Route("/charges", find, methods=["GET"]),
        Route("/charges/{reference}/void", void, methods=["POST"]),
        Route("/refunds", refund, methods=["POST"]),
        Route("/ledger", ledger, methods=["GET"]),
        Route("/calls", calls, methods=["GET"]),
        Route("/faults", faults, methods=["GET", "PUT"]),
        *health.routes(list),
    ]
    return health.without_redirects(routes, {Refusal: _refused})


async def _body(request: Request, kind: type[T]) -> T:
    """The body, whatever its content type: this API is not one of ours, and has its own errors."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES_MAX:
            raise Refusal(413, "body-too-large", f"at most {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Refusal(422, "invalid-request", str(error)) from error


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if not 1 <= len(key) <= 255:
        raise Refusal(400, "key-missing", "send an Idempotency-Key of 1 to 255 characters")
    return key


def _answered(answer: Answer) -> Response:
    if answer.lost:
        return NoReply()
    response = json_answer(answer.body, status=answer.status)
    if answer.repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return json_answer({"error": error.slug, "detail": error.detail}, status=error.status)
