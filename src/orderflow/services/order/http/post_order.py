"""
`POST /orders` and `POST /api/orders`: the hot path, as plain ASGI.

A request is parsed and priced on the event loop, then waits for the committer together with all
others, and is answered after their common COMMIT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from orderflow.messaging.http.bodies import decoded, read_body
from orderflow.messaging.http.problems import document
from orderflow.messaging.postgres.group_commit import GroupCommit
from orderflow.messaging.telemetry import counter
from orderflow.services.order.changes import Origin
from orderflow.services.order.commands import place_order
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import problems
from orderflow.services.order.http.readiness import StartGate
from orderflow.services.order.http.requests import (
    AnyOrderRequest,
    OrderRequest,
    ShortOrderRequest,
    claim_of,
    place_command,
    traceparent_of,
)
from orderflow.services.order.http.views import SHORT_MESSAGE, order_view
from orderflow.services.order.idempotency import KeyTaken
from orderflow.services.order.place_batch import Placement, Written

ROUTES: Mapping[str, type[AnyOrderRequest]] = {
    "/orders": OrderRequest,
    "/api/orders": ShortOrderRequest,
}

ACCEPTED = counter(
    "orders_accepted", "Orders answered with 201, repeats of an Idempotency-Key left out"
)

_DECODERS: Mapping[str, msgspec.json.Decoder[AnyOrderRequest]] = {
    path: msgspec.json.Decoder(request) for path, request in ROUTES.items()
}
_HEADERS = frozenset((b"content-type", b"content-length", b"idempotency-key", b"traceparent"))

Committer = GroupCommit[Placement, Written | KeyTaken]
RawHeaders = list[tuple[bytes, bytes]]


class PostOrder:
    """Places orders. 503 until the gate is open; then every order goes through `committer`."""

    def __init__(self, settings: OrderSettings, *, gate: StartGate, committer: Committer) -> None:
        self._settings = settings
        self._gate = gate
        self._committer = committer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, body, headers = 201, *await self._place(scope, receive)
        except Exception as error:  # noqa: BLE001 - the edge: all failures are answered
            status, body, headers = document(problems.from_error(error))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _place(self, scope: Scope, receive: Receive) -> tuple[bytes, RawHeaders]:
        path: str = scope["path"]
        headers = {name: value for name, value in scope["headers"] if name in _HEADERS}
        body = await read_body(headers, receive, limit=self._settings.api.body_bytes_max)
        request = decoded(_DECODERS[path], body)

        # After the body: a request that is wrong is refused as such, also while starting.
        placement = self._placement(path, request, headers=headers)

        outcome: asyncio.Future[Written | KeyTaken] = asyncio.get_running_loop().create_future()
        self._committer.submit(placement, outcome)
        match await outcome:
            case Written(order_id=order_id, answer=answer, repeated=repeated):
                if not repeated:
                    ACCEPTED.inc()
                return answer, [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(answer)).encode()),
                    (b"location", b"/orders/" + order_id.encode()),
                ]
        raise problems.key_taken()

    def _placement(
        self, path: str, request: AnyOrderRequest, *, headers: Mapping[bytes, bytes]
    ) -> Placement:
        ready = self._gate.demand()
        traceparent = traceparent_of(headers.get(b"traceparent"))
        origin = Origin(type="command", id="place", traceparent=traceparent)
        command = place_command(request, settings=self._settings, origin=origin)
        placed = place_order(command, catalogue=ready.catalogue, encode=ready.encode)

        message = SHORT_MESSAGE if path.startswith("/api/") else None
        key = headers.get(b"idempotency-key")
        return Placement(
            placed=placed,
            answer=msgspec.json.encode(order_view(placed.order, message=message)),
            claim=claim_of(key, scope=f"POST {path}", request=request),
        )


def resolve(outcomes: list[tuple[object, Written | KeyTaken | Exception]]) -> None:
    """Wake the requests of a batch, except those whose client has gone in the meantime."""
    for future, outcome in outcomes:
        assert isinstance(future, asyncio.Future)
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
