"""
`POST /orders` and `POST /api/orders`: the hot path, as plain ASGI.

A request is parsed on the event loop, then waits for the committer together with all others. It is
priced in their common transaction, and answered after its COMMIT.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
from starlette.types import Receive, Scope, Send

from orderflow.contracts.ids import CustomerId
from orderflow.messaging.http.bodies import decoded, read_body
from orderflow.messaging.http.preconditions import etag
from orderflow.messaging.http.problems import document, malformed
from orderflow.messaging.postgres.group_commit import GroupCommit
from orderflow.messaging.telemetry import counter
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.services.order import idempotency
from orderflow.services.order.changes import Origin
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import problems
from orderflow.services.order.http.command_log import CommandLog
from orderflow.services.order.http.readiness import StartGate
from orderflow.services.order.http.requests import (
    IDEMPOTENCY_KEY,
    REPLAYED,
    AnyOrderRequest,
    OrderRequest,
    ShortOrderRequest,
    claim_of,
    place_command,
)
from orderflow.services.order.http.views import SHORT_MESSAGE, OrderViews
from orderflow.services.order.model import Order
from orderflow.services.order.place_batch import Outcome, Placement, Written
from orderflow.services.order.traces import begin_trace, record_placing, written_in

ROUTES: Mapping[str, type[AnyOrderRequest]] = {
    "/orders": OrderRequest,
    "/api/orders": ShortOrderRequest,
}

WATCH_AFTER_S = 0.25
"""How long a request waits for its commit before it looks whether its client is still there."""

ACCEPTED = counter(
    "orders_accepted", "Orders answered with 201, repeats of an Idempotency-Key left out"
)

_DECODERS: Mapping[str, msgspec.json.Decoder[AnyOrderRequest]] = {
    path: msgspec.json.Decoder(request) for path, request in ROUTES.items()
}
_MESSAGES: Mapping[str, str | None] = {"/orders": None, "/api/orders": SHORT_MESSAGE}
# Two commands, since they ask for two modes of payment: the same key may be used for both.
_SCOPES: Mapping[str, str] = {"/orders": "place", "/api/orders": "place-on-request"}
_ETAG = etag(1).encode()
"""The first revision's, which is what every answer to a POST shows."""
_HEADERS = frozenset((b"content-type", b"content-length", b"content-encoding"))

Committer = GroupCommit[Placement, Outcome]
RawHeaders = list[tuple[bytes, bytes]]


class PostOrder:
    """Places orders. 503 until the gate is open; then every order goes through `committer`."""

    def __init__(self, settings: OrderSettings, *, gate: StartGate, committer: Committer) -> None:
        self._settings = settings
        self._gate = gate
        self._committer = committer
        self._log = CommandLog()
        self._views = OrderViews(settings.deadlines.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = _given_trace(scope)
        trace, times = begin_trace(given), {"began": time.time_ns()}
        try:
            status, body, headers = 201, *await self._place(scope, receive, trace, times)
        except Exception as error:  # noqa: BLE001 - the edge: all failures are answered
            status, body, headers = document(problems.from_error(error), trace=trace)
            self._log.add("place", status)
        record_placing(trace, route=scope["path"], status=status, given=given, times=times)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _place(
        self, scope: Scope, receive: Receive, trace: TraceContext, times: dict[str, int]
    ) -> tuple[bytes, RawHeaders]:
        path: str = scope["path"]
        headers = {name: value for name, value in scope["headers"] if name in _HEADERS}
        body = await read_body(headers, receive, limit=self._settings.api.body_bytes_max)
        request = decoded(_DECODERS[path], body)

        # After the body: a request that is wrong is refused as such, also while starting.
        keys = [value for name, value in scope["headers"] if name == IDEMPOTENCY_KEY]
        placement = self._placement(path, request, keys=keys, trace=trace)
        self._gate.demand()

        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + self._settings.api.queue_s
        times["submitted"] = time.time_ns()
        self._committer.submit(placement, outcome, deadline=deadline)
        with _watched(receive, outcome):
            result = await outcome
        times["written"] = time.time_ns()

        match result:
            case Written(order_id=order_id, answer=answer, repeated=repeated):
                if not repeated:
                    ACCEPTED.inc()
                self._log.add(
                    "place",
                    201,
                    order_id=order_id,
                    customer_id=request.customer_id,
                    traceparent=placement.command.origin.traceparent,
                )
                replayed = [(REPLAYED.lower().encode(), b"true")] if repeated else []
                return answer, [
                    *replayed,
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(answer)).encode()),
                    (b"location", b"/orders/" + order_id.encode()),
                    (b"etag", _ETAG),
                ]
        raise problems.key_taken()

    def _placement(
        self,
        path: str,
        request: AnyOrderRequest,
        *,
        keys: Sequence[bytes],
        trace: TraceContext,
    ) -> Placement:
        origin = Origin(type="command", id="place", traceparent=str(written_in(trace)))
        keyed_by = idempotency.scope_of(_SCOPES[path], CustomerId(request.customer_id))
        return Placement(
            command=place_command(request, settings=self._settings, origin=origin),
            answer=partial(self._answer, message=_MESSAGES[path]),
            claim=claim_of(keys, scope=keyed_by, request=request),
        )

    def _answer(self, order: Order, *, message: str | None) -> bytes:
        # As it was placed: a new order is not overdue, and its row has the only clock that counts.
        view = self._views.of(order, message=message, now=order.created_at)
        return msgspec.json.encode(view)


def _given_trace(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return str(value.decode("latin-1"))
    return None


@contextmanager
def _watched(receive: Receive, outcome: asyncio.Future[Outcome]) -> Iterator[None]:
    """End the outcome's waiting when the client goes away; see `is_awaited`."""
    loop = asyncio.get_running_loop()
    watches: list[asyncio.Task[None]] = []

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not outcome.done():
            outcome.set_exception(malformed("the client went away"))

    # A timer before a task: it costs next to nothing, and most commits take less than that.
    timer = loop.call_later(WATCH_AFTER_S, lambda: watches.append(loop.create_task(watch())))
    try:
        yield
    finally:
        timer.cancel()
        for watching in watches:
            watching.cancel()


def is_awaited(token: object) -> bool:
    """Whether a request still waits for the outcome: its client is there."""
    assert isinstance(token, asyncio.Future)
    return not token.done()


def resolve(outcomes: list[tuple[object, Outcome | Exception]]) -> None:
    """Wake the requests of a batch, except those whose client has gone in the meantime."""
    for future, outcome in outcomes:
        assert isinstance(future, asyncio.Future)
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
