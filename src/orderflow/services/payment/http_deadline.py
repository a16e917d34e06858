"""
HTTP calls that end by a deadline, whatever the other side does.

The client's own time-outs bound each read, so somebody who sends a byte a second holds a call for
as long as he likes, in its headers already.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

from orderflow.messaging.work.clock import CLOCK


class _Deadline(threading.local):
    """That of the call which this thread makes, in monotonic seconds."""

    at: float = float("inf")

    def rest(self, timeout: float | None, expired: type[Exception]) -> float:
        rest_s = self.at - CLOCK.monotonic()
        if rest_s <= 0:
            raise expired("the call's time is over")
        return rest_s if timeout is None else min(timeout, rest_s)


class DeadlineTransport(httpx2.HTTPTransport):
    """
    A pool of at most `calls_max` connections for many threads.

    What a thread does inside `within` raises a time-out of its phase once the seconds are over.
    """

    def __init__(self, *, calls_max: int) -> None:
        super().__init__(trust_env=False)
        self._deadline = _Deadline()

        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=calls_max,
            max_keepalive_connections=calls_max,
            keepalive_expiry=5.0,
            network_backend=_Backend(self._deadline),
        )

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        self._deadline.at = CLOCK.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline.at = float("inf")


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        timeout = self._deadline.rest(timeout, httpcore2.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, deadline: _Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        timeout = self._deadline.rest(timeout, httpcore2.ReadTimeout)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.rest(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        timeout = self._deadline.rest(timeout, httpcore2.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
