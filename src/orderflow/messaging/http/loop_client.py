"""
An HTTP client for many small calls at a time on one event loop: HTTP/1.1 over connections that are
kept, one call at a time on each.

Ours, because calls to the payment provider are the hot path of a payment: libraries' connection
pools cost ten times the CPU of the call itself. What HTTP says is parsed by httptools.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.http.spans import client_span
from orderflow.messaging.telemetry.traces import current

KEPT_IDLE_S = 4.0
"""Shorter than servers keep one: a call on a connection that is just being closed gets lost."""

HEADER_BYTES_MAX = 65_536
PORTS = {"http": 80, "https": 443}


class NotSent(OrderflowError):
    """There is no connection, so not one byte was sent."""


class Reply(msgspec.Struct, frozen=True):
    """An answer. `headers`: by their names in lower case; the last of a name counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class NoReply(OrderflowError):
    """
    No answer was read to its end; the server may have acted. `begun`: the answer as far as its
    headers, if they came.
    """

    def __init__(self, why: str, begun: Reply | None = None) -> None:
        super().__init__(why)
        self.begun = begun


class TooLong(NoReply):
    """The answer is longer than it may be."""


class LoopClient:
    """
    Calls the server at `url`. Belongs to the event loop that makes its calls.

    A connection is there within `connect_s`, else NotSent; after that no silence of the server is
    longer than `silence_s`, and the whole call ends `within_s`, to the last byte, else NoReply. A
    body has at most `body_bytes_max` bytes. No retry, no redirect, no proxy, nothing from the
    environment but the system's certificates for https.

    Calls made within a sampled trace have spans, which call the server `peer`.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        connect_s: float,
        silence_s: float,
        within_s: float,
        body_bytes_max: int,
        peer: str,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(f"{peer}: the URL of a server is http(s)://host:port/path")
        self._host, self._port = parts.hostname, parts.port or PORTS[parts.scheme]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/")
        host = parts.netloc.rpartition("@")[2]
        self._always = _lines({"Host": host, "Accept-Encoding": "identity", **headers})

        self._connect_s = connect_s
        self._silence_s = silence_s
        self._within_s = within_s
        self._body_bytes_max = body_bytes_max
        self._peer = peer
        self._idle: dict[_Connection, None] = {}

    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """
        The server's answer, whatever it says. Raises NotSent, NoReply or TooLong.

        `path` and headers are ASCII, else ValueError.
        """
        own = dict(headers or {})
        if current() is None:
            return await self._call(method, path, body, own)
        with client_span(method, own, peer=self._peer) as answered:
            reply = await self._call(method, path, body, own)
            answered(reply.status)
            return reply

    def close(self) -> None:
        """Close the connections that no call is using."""
        while self._idle:
            self._idle.popitem()[0].close()

    async def _call(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        if body or method == "POST":
            headers["Content-Length"] = str(len(body))
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("a path has visible ASCII characters only")
        head = f"{method} {self._base}{path} HTTP/1.1\r\n{self._always}{_lines(headers)}\r\n"

        deadline = asyncio.get_running_loop().time() + self._within_s
        connection = self._kept() or await self._connected(deadline)
        reply = await connection.exchange(head.encode("ascii") + body, deadline)
        if connection.is_reusable:
            self._idle[connection] = None
        else:
            connection.close()
        return reply

    def _kept(self) -> _Connection | None:
        """
        The connection that was used last: those that are not needed grow old, and are closed.
        """
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.is_reusable and now - connection.used_at < KEPT_IDLE_S:
                return connection
            connection.close()
        return None

    async def _connected(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        within_s = min(self._connect_s, deadline - loop.time())

        try:
            async with asyncio.timeout(within_s):
                _transport, connection = await loop.create_connection(
                    lambda: _Connection(loop, self._silence_s, self._body_bytes_max, self._idle),
                    self._host,
                    self._port,
                    ssl=self._tls,
                )
        except TimeoutError as error:
            raise NotSent(f"no connection within {self._connect_s:g} s") from error
        # UnicodeError: a name that no host can have.
        except (OSError, UnicodeError) as error:
            raise NotSent(error_text(error)) from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection, and the call that it carries."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        silence_s: float,
        body_bytes_max: int,
        idle: dict[_Connection, None],
    ) -> None:
        self._loop = loop
        self._silence_s = silence_s
        self._body_bytes_max = body_bytes_max
        self._idle = idle

        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._heard_at = self.used_at = 0.0
        self.is_reusable = True
        self._begin()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._body = b""
        self._status = 0
        self._is_complete = False

    async def exchange(self, request: bytes, deadline: float) -> Reply:
        """Send the request and await its answer. Raises NoReply or TooLong."""
        self._begin()
        self._bytes_left = HEADER_BYTES_MAX + self._body_bytes_max
        self._deadline = deadline
        self._heard_at = self._loop.time()
        self._waiting = self._loop.create_future()
        self._timer = self._loop.call_at(self._ends_at, self._check_time)
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        self.is_reusable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            # Nobody has asked: what comes next could be taken for the answer to another call.
            self.close()
            return

        self._heard_at = self._loop.time()
        self._bytes_left -= len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.is_reusable = False
            if not self._is_complete:
                self._lose(NoReply(f"no HTTP: {type(error).__name__}", self._begun))
                return
        if self._bytes_left < 0 or len(self._body) > self._body_bytes_max:
            self._lose(TooLong("the answer is longer than it may be", self._begun))
        elif self._is_complete:
            self._answer()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        self._idle.pop(self, None)
        if self._waiting is None:
            return

        if self._status and not {"content-length", "transfer-encoding"} & self._headers.keys():
            # Such a body ends with the connection.
            self._answer()
        else:
            why = type(error).__name__ if error else "closed before the end of the answer"
            self._lose(NoReply(why, self._begun))

    # What the parser calls, with what it reads.

    def on_message_begin(self) -> None:
        if self._is_complete:
            # Another message, and only one was asked for.
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_complete:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if not self._is_complete:
            self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._body += body

    def on_message_complete(self) -> None:
        if self._is_complete:
            return
        if 100 <= self._status < 200:
            # Not the answer yet.
            self._begin()
            return
        self._is_complete = True
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()

    @property
    def _ends_at(self) -> float:
        return min(self._deadline, self._heard_at + self._silence_s)

    @property
    def _begun(self) -> Reply | None:
        return Reply(self._status, self._headers, self._body) if self._status else None

    def _check_time(self) -> None:
        if self._loop.time() < self._ends_at:
            self._timer = self._loop.call_at(self._ends_at, self._check_time)
        elif self._ends_at == self._deadline:
            self._lose(NoReply("the answer took too long as a whole", self._begun))
        else:
            self._lose(NoReply(f"silence for {self._silence_s:g} s", self._begun))

    def _answer(self) -> None:
        self.used_at = self._heard_at
        self._over().set_result(Reply(self._status, self._headers, self._body))

    def _lose(self, error: NoReply) -> None:
        self.close()
        self._over().set_exception(error)

    def _over(self) -> asyncio.Future[Reply]:
        assert self._waiting is not None
        assert self._timer is not None
        self._timer.cancel()
        waiting, self._waiting = self._waiting, None
        return waiting


def _lines(headers: Mapping[str, str]) -> str:
    for value in headers.values():
        if not value.isascii() or not value.isprintable():
            raise ValueError("a header has printable ASCII characters only")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
