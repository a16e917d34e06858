"""Connections of clients that send slowly, or without end."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from orderflow.messaging.http import bounded_protocol
from orderflow.messaging.http.bounded_protocol import HEAD_BYTES_MAX, BoundedProtocol

ANSWERED = b"HTTP/1.1 200 OK"
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


async def application(_scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body"})


def answers_to(*pieces: bytes, closes: bool, connections_max: int | None = None) -> bytes:
    """What the server sends to these pieces; `closes`: it must end the connection by itself."""

    async def exchange() -> bytes:
        config = uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            server_header=False,
            limit_concurrency=connections_max,
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        answers = b""
        async with asyncio.timeout(10):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                while closes or answers.count(ANSWERED) < len(pieces):
                    data = await reader.read(65_536)
                    if not data:
                        break
                    answers += data
            except ConnectionError:
                assert closes
        writer.close()
        server.close()
        return answers

    return asyncio.run(exchange())


def test_good_requests_are_answered_on_one_connection() -> None:
    assert answers_to(REQUEST, REQUEST, closes=False).count(ANSWERED) == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST / HTT",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(bounded_protocol, "REQUEST_WITHIN_S", 0.1)
    assert ANSWERED not in answers_to(sent, closes=True)


@pytest.mark.parametrize("header", [b"X-%06d: a\r\n", b"%06d"])
def test_headers_without_end_are_cut_off(header: bytes) -> None:
    endless = b"".join(header % number for number in range(HEAD_BYTES_MAX // 2))
    start = b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: "
    assert ANSWERED not in answers_to(start, endless, closes=True)


@pytest.mark.parametrize(
    "sent",
    [
        "GET /orders/ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        "GET /orders?customerId=ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET /orders/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /orders HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"no request\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_with_a_problem_document(sent: bytes) -> None:
    head, _, body = answers_to(sent, closes=True).partition(b"\r\n\r\n")
    status, *headers = head.lower().split(b"\r\n")
    assert status == b"http/1.1 400 bad request"
    assert {b"content-type: application/problem+json", b"connection: close"} <= {*headers}
    assert b"content-length: %d" % len(body) in headers
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("/problems/malformed-request", 400)


def test_a_connection_too_many_is_answered_with_a_problem_document() -> None:
    head, _, body = answers_to(REQUEST, closes=True, connections_max=1).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 2" in head.lower()
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["type"] == "/problems/unavailable"
