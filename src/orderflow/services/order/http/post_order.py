"""
`POST /orders` and `POST /api/orders`: the one hot path, as plain ASGI.

A request is parsed and priced on the event loop, waits for the committer with all others, and is answered after their
common COMMIT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from orderflow.contracts.ids import Sku
from orderflow.messaging.http.bodies import decoded, read_body
from orderflow.messaging.http.problems import document, unavailable
from orderflow.messaging.postgres.group_commit import GroupCommit
from orderflow.messaging.telemetry import counter
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.handlers import Encode, place_order
from orderflow.services.order.http import problems
from orderflow.services.order.http.requests import (
    AnyOrderRequest,
    OrderRequest,
    ShortOrderRequest,
    claim_of,
    command,
    traceparent_of,
)
from orderflow.services.order.http.views import SHORT_MESSAGE, order_view
from orderflow.services.order.idempotency import KeyTaken
from orderflow.services.order.model import Product
from orderflow.services.order.repository import Placement, Written

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
_WANTED = frozenset((b"content-type", b"content-length", b"idempotency-key", b"traceparent"))


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known before an order can be taken."""

    encode: Encode
    catalogue: Mapping[Sku, Product]


class Placing:
    """Takes orders once `open` was called; before that, 503 with what is missing."""

    def __init__(self, settings: OrderSettings) -> None:
        self._settings = settings
        self._ready: Ready | None = None
        self._committer: GroupCommit[Placement, Written | KeyTaken] | None = None

    def open(self, ready: Ready, committer: GroupCommit[Placement, Written | KeyTaken]) -> None:
        self._committer = committer
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        try:
            status, body, headers = 201, *await self._place(path, scope, receive)
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes a problem document
            status, body, headers = document(problems.from_error(error))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _place(
        self, path: str, scope: Scope, receive: Receive
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        sent = {name: value for name, value in scope["headers"] if name in _WANTED}
        request = decoded(
            _DECODERS[path], await read_body(sent, receive, limit=self._settings.api.body_bytes_max)
        )
        if self._ready is None or self._committer is None:
            raise unavailable("the service is starting: see /readyz")
        asked = command(
            request, settings=self._settings, traceparent=traceparent_of(sent.get(b"traceparent"))
        )
        placed = place_order(asked, catalogue=self._ready.catalogue, encode=self._ready.encode)
        message = SHORT_MESSAGE if path.startswith("/api/") else None
        placement = Placement(
            placed=placed,
            answer=msgspec.json.encode(order_view(placed.order, message=message)),
            claim=claim_of(sent.get(b"idempotency-key"), scope=f"POST {path}", request=request),
        )
        done: asyncio.Future[Written | KeyTaken] = asyncio.get_running_loop().create_future()
        self._committer.submit(placement, done)
        match await done:
            case Written(order_id=order_id, answer=answer, repeated=repeated):
                if not repeated:
                    ACCEPTED.inc()
                return answer, [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(answer)).encode()),
                    (b"location", b"/orders/" + order_id.encode()),
                ]
        raise problems.key_taken()


def resolve(done: list[tuple[object, Written | KeyTaken | Exception]]) -> None:
    """Wake the requests of a batch; a client that has gone in the meantime needs no answer."""
    for future, outcome in done:
        assert isinstance(future, asyncio.Future)
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
