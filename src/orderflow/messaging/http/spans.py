"""The spans of calls over HTTP: the caller's, and the server's that is called."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderflow.messaging.event import TRACEPARENT
from orderflow.messaging.telemetry.trace_context import new_span_id, sampled
from orderflow.messaging.telemetry.traces import Span, current, is_on, record_spans


@contextmanager
def client_span(
    method: str, headers: MutableMapping[str, str], *, peer: str
) -> Iterator[Callable[[int], None]]:
    """
    Record a client's span of the call inside, and put its context into the request's `headers`.
    Call what is yielded with the answer's status; without an answer the span says why.
    """
    parent = current()
    assert parent is not None
    own = parent.at(new_span_id())
    headers[TRACEPARENT] = str(own)
    began, status, error = time.time_ns(), 0, "no answer"

    def answered(code: int) -> None:
        nonlocal status, error
        status, error = code, f"{code}" if code >= 400 else ""

    try:
        yield answered
    except Exception as failure:
        # Its words may name hosts: the kind of failure says enough.
        error = type(failure).__qualname__
        raise
    finally:
        attributes = {"http.request.method": method, "peer.service": peer or "http"}
        if status:
            attributes["http.response.status_code"] = str(status)
        record_spans(
            (
                Span(
                    name=f"{method} {peer}".rstrip(),
                    kind="client",
                    context=own,
                    parent_id=parent.span_id,
                    started_ns=began,
                    ended_ns=time.time_ns(),
                    attributes=attributes,
                    error=error,
                ),
            )
        )


class ServerSpans:
    """
    An application whose requests have spans, those that come with a sampled trace.

    For servers inside the system: whoever may call it decides what is recorded.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = dict(scope.get("headers", ())).get(TRACEPARENT.encode(), b"")
        parent = sampled(header.decode("latin-1")) if is_on() else None
        if parent is None or scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        began, status = time.time_ns(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._application(scope, receive, sending)
        finally:
            endpoint = getattr(scope.get("endpoint"), "__name__", "unknown")
            record_spans(
                (
                    Span(
                        name=f"{scope['method']} {endpoint}",
                        kind="server",
                        context=parent.at(new_span_id()),
                        parent_id=parent.span_id,
                        started_ns=began,
                        ended_ns=time.time_ns(),
                        attributes={
                            "http.request.method": scope["method"],
                            "http.response.status_code": status,
                        },
                        error="" if 0 < status < 500 else str(status or "no answer"),
                    ),
                )
            )
