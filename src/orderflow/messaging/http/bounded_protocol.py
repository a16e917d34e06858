"""
HTTP connections that have an end: whoever sends a request slowly, or without end, is cut off.

The server's own protocol limits neither headers nor the time that a request takes to arrive, so few
clients could fill the memory, or hold every connection. And what the server itself refuses is
answered with a problem document, as everything else is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orderflow.messaging.http import problems

HEAD_BYTES_MAX = 65_536
"""Of a request's line and headers together."""

REQUEST_WITHIN_S = 20.0
"""From a connection's beginning, or a request's first byte, to the request's last one."""


async def _overloaded(_scope: Scope, _receive: Receive, send: Send) -> None:
    """In place of the server's own answer when there are too many connections."""
    status, body, headers = problems.document(problems.unavailable("too many connections are open"))
    headers = [*headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BoundedProtocol(HttpToolsProtocol):
    """
    Closes a connection whose request does not arrive within 20 s, or has more than 64 KiB before
    its body; what waits for the rest of the body sees that its client went away.
    """

    _is_arriving = False
    _is_head = False
    _head_bytes = 0
    _cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_head:
            self._count(len(data))

        # Most requests arrive in one piece, and need no timer.
        if not self._is_arriving:
            self._end()
        elif self._cut_off is None:
            self._begin()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused as everything is."""
        status, body, headers = problems.document(problems.malformed_request())
        lines = [name + b": " + value for name, value in (*headers, (b"connection", b"close"))]
        head = b"\r\n".join([b"HTTP/1.1 %d Bad Request" % status, *lines])
        self.transport.write(head + b"\r\n\r\n" + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._is_arriving = self._is_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_arriving = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        answering: Any = _overloaded if app is service_unavailable else app
        super()._start_asgi_task(cycle, answering)

    def _count(self, data_bytes: int) -> None:
        self._head_bytes += data_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            self._close()

    def _begin(self) -> None:
        self._cut_off = self.loop.call_later(REQUEST_WITHIN_S, self._close)

    def _end(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
