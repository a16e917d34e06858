"""
The HTTP client of an event loop: what counts as an answer, when a connection is used again, and
that every call has an end.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import uvloop
from tests.support.certificates import Certificate, certificate_for
from tests.support.scripted_provider import http
from tests.support.slow_server import slow_server
from tests.support.spans import recorded

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.http import loop_client
from orderflow.messaging.http.loop_client import (
    HEADER_BYTES_MAX,
    LoopClient,
    NoReply,
    NotSent,
    Reply,
    TooLong,
)
from orderflow.messaging.telemetry.trace_context import sampled
from orderflow.messaging.telemetry.traces import within

T = TypeVar("T")
HOST = "127.0.0.1"
OK = http(200, {"well": True})
BODY_BYTES_MAX = 1_000

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """
    Answers the n-th request of each connection with the n-th of `replies`, the last again and
    again; None closes the connection instead.
    """

    def __init__(self, *replies: bytes | None, tls: ssl.SSLContext | None = None) -> None:
        self.replies = replies
        self.connections = 0
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.clients: list[LoopClient] = []
        self._tls = tls

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for opened in self.clients:
            opened.close()
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        # What was closed is so in the loop's next turn.
        await asyncio.sleep(0.02)

    def client(self, path: str = "", **options: Any) -> LoopClient:
        scheme = "https" if self._tls else "http"
        host = "localhost" if self._tls else HOST
        self.clients.append(client(f"{scheme}://{host}:{self.port}{path}", **options))
        return self.clients[-1]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        replies = list(self.replies)
        while True:
            try:
                request = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.requests.append(request)
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            if reply is None:
                writer.close()
                return
            writer.write(reply)


def client(url: str, **options: Any) -> LoopClient:
    settings: dict[str, Any] = {
        "headers": {},
        "connect_s": 1.0,
        "silence_s": 0.3,
        "within_s": 0.6,
        "body_bytes_max": BODY_BYTES_MAX,
        "peer": "peer",
    }
    return LoopClient(url, **settings | options)


def run(call: Awaitable[T]) -> T:
    async def within_time() -> T:
        async with asyncio.timeout(10):
            return await call

    return uvloop.run(within_time())


async def answered(*replies: bytes | None, times: int = 1) -> tuple[Server, list[Reply]]:
    async with Server(*replies) as server:
        opened = server.client()
        return server, [await opened.request("GET", "/") for _ in range(times)]


def test_calls_one_after_the_other_use_one_connection() -> None:
    server, replies = run(answered(OK, times=3))
    assert server.connections == 1
    assert [(reply.status, reply.body) for reply in replies] == [(200, b'{"well": true}')] * 3
    assert replies[0].headers["content-type"] == "application/json"


def test_a_request_is_whole_and_says_nothing_that_it_was_not_given() -> None:
    async def ask() -> bytes:
        async with Server(OK) as server:
            opened = server.client(path="/v1/", headers={"Accept": "text/plain"})
            await opened.request("POST", "/things?of=a", body=b"", headers={"Idempotency-Key": "k"})
            assert server.port
            return server.requests[0].replace(str(server.port).encode(), b"PORT")

    assert run(ask()) == (
        b"POST /v1/things?of=a HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAccept-Encoding: identity\r\n"
        b"Accept: text/plain\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n"
    )


LAST = {
    "that ends with its connection": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody",
    "that announces the end": http(200, b"body", Connection="close"),
    "of an old server": b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    "with another behind it": http(200, b"body") + http(200, b"nobody asked for this"),
    "with nonsense behind it": http(200, b"body") + b"\x00nonsense",
}


@pytest.mark.parametrize("last", LAST)
def test_after_such_an_answer_a_connection_is_not_used_again(last: str) -> None:
    async def ask_twice() -> tuple[Server, list[bytes]]:
        async with Server(LAST[last]) as server:
            opened = server.client()
            bodies = []
            for _ in range(2):
                asking = asyncio.create_task(opened.request("GET", "/"))
                await asyncio.sleep(0.05)
                # The server's end of it: an answer may have no other.
                if last.startswith("that ends"):
                    server.writers[-1].close()
                bodies.append((await asking).body)
            return server, bodies

    server, bodies = run(ask_twice())
    assert bodies == [b"body"] * 2
    assert server.connections == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
        + http(200, b"body"),
    ],
    ids=["in chunks", "after others that are none"],
)
def test_an_answer_is_read_as_http_has_it(reply: bytes) -> None:
    server, (first, second) = run(answered(reply, times=2))
    assert (first.status, first.body, "x" in first.headers) == (200, b"body", False)
    assert second.body == b"body"
    assert server.connections == 1


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    async def ask_twice() -> int:
        async with Server(OK) as server:
            opened = server.client()
            await opened.request("GET", "/")
            server.writers[0].close()
            await asyncio.sleep(0.05)
            assert (await opened.request("GET", "/")).status == 200
            return server.connections

    assert run(ask_twice()) == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers close what is idle for 5 s or more: a call sent just then would get lost."""
    assert loop_client.KEPT_IDLE_S < 5
    monkeypatch.setattr(loop_client, "KEPT_IDLE_S", 0.0)
    server, _ = run(answered(OK, times=2))
    assert server.connections == 2


def test_what_a_server_says_unasked_answers_no_call() -> None:
    async def ask_twice() -> tuple[int, bytes]:
        async with Server(OK) as server:
            opened = server.client()
            await opened.request("GET", "/")
            server.writers[0].write(http(200, b"unasked"))
            await asyncio.sleep(0.05)
            reply = await opened.request("GET", "/")
            return server.connections, reply.body

    assert run(ask_twice()) == (2, b'{"well": true}')


def test_calls_at_a_time_have_connections_of_their_own_and_their_own_answers() -> None:
    async def ask() -> tuple[int, list[Reply]]:
        async with Server(OK) as server:
            opened = server.client()
            replies = await asyncio.gather(*(opened.request("GET", "/") for _ in range(20)))
            return server.connections, replies

    connections, replies = run(ask())
    assert connections == 20
    assert all(reply.body == b'{"well": true}' for reply in replies)


def test_a_request_that_was_sent_is_not_sent_again() -> None:
    """The server may have acted: who calls knows what is to be done."""

    async def ask_twice() -> list[bytes]:
        async with Server(OK, None) as server:
            opened = server.client()
            await opened.request("POST", "/")
            with pytest.raises(NoReply) as raised:
                await opened.request("POST", "/")
            assert raised.value.begun is None
            return server.requests

    assert len(run(ask_twice())) == 2


def test_an_answer_that_is_cut_off_is_none_but_says_what_had_come() -> None:
    async def ask() -> NoReply:
        async with Server(http(503, b"body", Retry_After="7")[:-2]) as server:
            asking = asyncio.create_task(server.client().request("GET", "/"))
            await asyncio.sleep(0.05)
            server.writers[0].close()
            with pytest.raises(NoReply) as raised:
                await asking
            return raised.value

    begun = run(ask()).begun
    assert begun is not None
    assert (begun.status, begun.headers["retry-after"]) == (503, "7")


ENDLESS = {
    "silence": (b"", b"", NoReply),
    "headers by the byte": (b"HTTP/1.1 200 OK\r\nX: ", b"x", NoReply),
    "a body by the byte": (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b" ", NoReply),
    "headers as fast as it can": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000, TooLong),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * HEADER_BYTES_MAX, TooLong),
    "a body as fast as it can": (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65_536, TooLong),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000, TooLong),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_call_has_an_end_whatever_the_server_does(kind: str) -> None:
    begin, drip, expected = ENDLESS[kind]
    every_s = 0.05 if len(drip) <= 1 else 0.0

    with slow_server(begin, drip, every_s=every_s) as server:
        began = time.monotonic()
        with pytest.raises(NoReply) as raised:
            run(client(f"http://{HOST}:{server.port}").request("GET", "/"))
        assert time.monotonic() - began < 1.0
    assert type(raised.value) is expected


def test_a_body_may_be_as_long_as_it_may_be_and_no_longer() -> None:
    _, (reply,) = run(answered(http(200, b"x" * BODY_BYTES_MAX)))
    assert len(reply.body) == BODY_BYTES_MAX
    with pytest.raises(TooLong):
        run(answered(http(200, b"x" * (BODY_BYTES_MAX + 1))))


def test_without_a_connection_nothing_was_sent() -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        for host in (f"{HOST}:{unused.getsockname()[1]}", "a..b"):
            with pytest.raises(NotSent):
                run(client(f"http://{host}").request("GET", "/"))


def test_a_host_that_does_not_answer_is_waited_for_no_longer_than_it_may_be() -> None:
    with socket.create_server((HOST, 0), backlog=0) as full:
        filling = [socket.socket() for _ in range(3)]
        for each in filling:
            each.settimeout(0)
            each.connect_ex(full.getsockname())
        opened = client(f"http://{HOST}:{full.getsockname()[1]}", connect_s=0.2)
        with pytest.raises(NotSent, match=r"no connection within 0.2 s"):
            run(opened.request("GET", "/"))
        for each in filling:
            each.close()


@contextmanager
def proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    yield


def test_no_proxy_of_the_environment_and_no_redirect_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxies_of_the_environment(monkeypatch):
        server, (reply,) = run(answered(http(302, b"", Location="/elsewhere")))
    assert reply.status == 302
    assert len(server.requests) == 1


def test_a_server_with_tls_is_believed_if_the_system_knows_who_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(certificate: Certificate) -> int:
        async with Server(OK, tls=certificate.context) as server:
            return (await server.client().request("GET", "/")).status

    ours, others = (
        certificate_for("localhost", tmp_path),
        certificate_for("other.example", tmp_path),
    )
    with pytest.raises(NotSent):
        run(ask(ours))
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
    assert run(ask(ours)) == 200
    monkeypatch.setenv("SSL_CERT_FILE", str(others.file))
    with pytest.raises(NotSent):
        run(ask(others))


@pytest.mark.parametrize("text", ["a\r\nHost: another", "ü", "a b"])
def test_what_is_no_path_or_header_is_refused_before_anything_is_sent(text: str) -> None:
    async def ask() -> list[bytes]:
        async with Server(OK) as server:
            opened = server.client()
            with pytest.raises(ValueError, match="visible ASCII"):
                await opened.request("GET", f"/{text}")
            if " " not in text or "\r" in text:
                with pytest.raises(ValueError, match="printable ASCII"):
                    await opened.request("GET", "/", headers={"X": text})
            return server.requests

    assert run(ask()) == []


@pytest.mark.parametrize("url", ["", "psp:8089", "ftp://psp", "http://", "http://psp/?a=b"])
def test_what_is_no_address_of_a_server_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the URL of a server"):
        client(url)


def test_a_call_within_a_sampled_trace_has_a_span_and_hands_its_context_on() -> None:
    context = sampled("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert context is not None
    with recorded() as spans, within(context):
        server, _ = run(answered(OK))
        with pytest.raises(NoReply):
            run(answered(None))
    good, lost = spans.all
    assert (good.name, good.kind, good.parent_id, good.error) == (
        "GET peer",
        "client",
        context.span_id,
        "",
    )
    assert f"traceparent: {good.context}".encode() in server.requests[0]
    assert lost.error == "NoReply"
