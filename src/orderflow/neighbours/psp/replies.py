"""What a client gets instead of the answer: each function makes a response of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orderflow.messaging.http.health import json_answer

HUGE_BYTES = 32 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
TRICKLE_EVERY_S = 0.25

Reply = Callable[[int, Any], Response]
"""A response of an answer's status and body."""


class NoReply(Response):
    """Nothing is sent. `reset`: the connection is reset, as when a reply, or its request, is lost.

    Without it the client waits until it gives up.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._reset:
            # ASGI has no message for this; the server's `receive` is a method of an object that
            # has the transport.
            receive.__self__.transport.abort()  # type: ignore[attr-defined]
        while (await receive())["type"] != "http.disconnect":
            pass


def sound(status: int, body: Any) -> Response:
    return json_answer(body, status=status)


def reset(_status: int, _body: Any) -> Response:
    return NoReply(reset=True)


def silence(_status: int, _body: Any) -> Response:
    return NoReply(reset=False)


def trickle(status: int, body: Any) -> Response:
    """A byte at a time: no read times out, and the body does not end within a minute."""

    async def drops() -> AsyncIterator[bytes]:
        for byte in msgspec.json.encode(body):
            yield bytes((byte,))
            await asyncio.sleep(TRICKLE_EVERY_S)

    return StreamingResponse(drops(), status, media_type="application/json")


def huge(status: int, body: Any) -> Response:
    """The answer as valid JSON, with 32 MiB of blanks before it."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(HUGE_BYTES // CHUNK_BYTES):
            yield b" " * CHUNK_BYTES
        yield msgspec.json.encode(body)

    return StreamingResponse(chunks(), status, media_type="application/json")


def empty(status: int, _body: Any) -> Response:
    return Response(b"", status, media_type="application/json")


def html(status: int, _body: Any) -> Response:
    page = "<!doctype html><title>Maintenance</title><p>We are back soon."
    return Response(page, status, media_type="text/html")


def truncated(status: int, body: Any) -> Response:
    content = msgspec.json.encode(body)
    return Response(content[: len(content) // 2], status, media_type="application/json")


def plain_text(status: int, body: Any) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="text/plain")


def error(status: int) -> Reply:
    """That status, with the provider's words for it, whatever the answer is."""

    def reply(_status: int, _body: Any) -> Response:
        slug, detail = WORDS.get(status, ("internal-error", "something went wrong on our side"))
        response = json_answer({"error": slug, "detail": detail}, status=status)
        if status in (301, 302):
            response.headers["Location"] = "/moved"
        return response

    return reply


WORDS = {
    302: ("moved", "this has moved"),
    400: ("bad-request", "the request is not understood"),
    401: ("unauthorized", "the API key is missing or wrong"),
    403: ("forbidden", "this account may not do that"),
    404: ("not-found", "there is no such thing"),
    409: ("conflict", "this contradicts what is recorded"),
    422: ("invalid-request", "the request is refused"),
    429: ("too-many-requests", "slow down"),
    502: ("bad-gateway", "no sense from behind the balancer"),
    503: ("unavailable", "down for maintenance"),
    504: ("gateway-timeout", "no answer from behind the balancer"),
}


def replaced(body: Any) -> Reply:
    def reply(status: int, _body: Any) -> Response:
        return json_answer(body, status=status)

    return reply


def changed(**fields: Any) -> Reply:
    """The answer with other values in those fields of each charge and refund that it tells of."""

    def change(view: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**view, **{name: value for name, value in fields.items() if name in view}}

    return _each(change)


def without(*names: str) -> Reply:
    """The answer without those fields of each charge and refund that it tells of."""

    def change(view: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in view.items() if name not in names}

    return _each(change)


def _each(change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Reply:
    """A look-up's answer has charges and refunds in lists; any other is about one of them."""

    def reply(status: int, body: Any) -> Response:
        lists = {
            name: [change(view) for view in body[name]]
            for name in ("charges", "refunds")
            if name in body
        }
        return json_answer({**body, **lists} if lists else change(body), status=status)

    return reply
