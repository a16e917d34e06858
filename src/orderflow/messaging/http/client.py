"""
An HTTP client whose calls have an end: in seconds, and in bytes.

The time-outs of HTTP libraries count from byte to byte, so a server that sends one now and then is
waited for without end, and an answer may be as long as the server likes. Here the whole call has a
limit, from the first byte sent to the last one read.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

from orderflow.messaging.http.spans import client_span
from orderflow.messaging.telemetry.traces import current

ANSWER_BYTES_MAX = 4 * 1024 * 1024


class BoundedClient(httpx2.Client):
    """
    Every call ends within `within_s`, besides the wait for a free connection, which `timeout` has
    of its own; an answer has at most `bytes_max` bytes on the wire.

    A call that is made within a sampled trace has a span of its own, and hands its context on;
    `peer` is what the span calls the server. Unless `trust_env` is said, no proxy of the
    environment is used.

    Raises the library's TransportError past one of the limits, and nothing of the answer counts.
    ConnectError and ConnectTimeout are raised only when nothing was sent. Threads may share it.
    """

    def __init__(
        self,
        *,
        within_s: float,
        bytes_max: int = ANSWER_BYTES_MAX,
        peer: str = "",
        **options: Any,
    ) -> None:
        # Unpacked, few bytes could become many.
        headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
        super().__init__(headers=headers, **{"trust_env": False, **options})
        self._within_s = within_s
        self._bytes_max = bytes_max
        self._peer = peer
        self._limits = _Limits()
        self._bound_connections()

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        self._limits.deadline = time.monotonic() + self._within_s
        self._limits.bytes_left = self._bytes_max
        if current() is None:
            return super().send(request, **options)
        with client_span(request.method, request.headers, peer=self._peer) as answered:
            response = super().send(request, **options)
            answered(response.status_code)
            return response

    def _bound_connections(self) -> None:
        # The library passes no backend on, though its pools take one: they are given it afterwards,
        # those of proxies too.
        for transport in (self._transport, *self._mounts.values()):
            if isinstance(transport, httpx2.HTTPTransport):
                pool = transport._pool  # noqa: SLF001
                pool._network_backend = _Backend(pool._network_backend, self._limits)  # noqa: SLF001


class _Limits(threading.local):
    """What is left to the call that this thread is making: a call runs on its caller's thread."""

    deadline = 0.0
    bytes_left = 0

    def left_s(self, timeout_s: float | None) -> float:
        left = self.deadline - time.monotonic()
        return left if timeout_s is None else min(left, timeout_s)


class _Backend(httpcore2.NetworkBackend):
    """Opens connections that keep to the limits."""

    def __init__(self, backend: httpcore2.NetworkBackend, limits: _Limits) -> None:
        self._backend = backend
        self._limits = limits

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._limits.left_s(timeout)
        if left <= 0:
            raise httpcore2.ConnectTimeout("no time was left to connect")
        stream = self._backend.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(stream, self._limits)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    """A connection that reads and writes no longer, and no more, than the call may."""

    def __init__(self, stream: httpcore2.NetworkStream, limits: _Limits) -> None:
        self._stream = stream
        self._limits = limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._limits.left_s(timeout)
        if left <= 0:
            raise httpcore2.ReadTimeout("the answer took too long as a whole")
        data = self._stream.read(max_bytes, left)
        self._limits.bytes_left -= len(data)
        if self._limits.bytes_left < 0:
            raise httpcore2.ReadError("the answer is longer than it may be")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = self._limits.left_s(timeout)
        if left <= 0:
            raise httpcore2.WriteTimeout("the request took too long to send")
        self._stream.write(buffer, left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = max(0.001, self._limits.left_s(timeout))
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._limits)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
