"""A request without a body, in every way in which clients and proxies say so."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from orderflow.messaging.http.bodies import read_optional_json
from orderflow.messaging.http.problems import Problem

JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain")
CHUNKED = (b"transfer-encoding", b"chunked")
DECODER = msgspec.json.Decoder(dict[str, int])


def read(headers: list[tuple[bytes, bytes]], *chunks: bytes) -> Any:
    left = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    left.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return left.pop(0)

    request = Request({"type": "http", "headers": headers}, receive)
    return asyncio.run(read_optional_json(request, DECODER, default={"default": 1}, limit=20))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-length", b"0")],
        [(b"content-length", b"00")],
        [(b"content-length", b"0"), JSON],
        [CHUNKED],
        [CHUNKED, JSON],
        [CHUNKED, TEXT],
    ],
)
@pytest.mark.parametrize("chunks", [(), (b"",), (b"", b"")])
def test_no_body_is_the_default(
    headers: list[tuple[bytes, bytes]], chunks: tuple[bytes, ...]
) -> None:
    assert read(headers, *chunks) == {"default": 1}


@pytest.mark.parametrize("headers", [[CHUNKED, JSON], [(b"content-length", b"7"), JSON]])
def test_a_body_is_read_in_whatever_pieces_it_comes(headers: list[tuple[bytes, bytes]]) -> None:
    assert read(headers, b'{"a"', b"", b":1}") == {"a": 1}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([CHUNKED, TEXT], b"{}", 415),
        ([CHUNKED], b"{}", 415),
        ([CHUNKED, JSON], b"{", 400),
        ([CHUNKED, JSON], b" " * 21, 413),
        ([(b"content-length", b"21"), JSON], b"{}", 413),
    ],
)
def test_a_body_that_is_none_of_ours_is_refused(
    headers: list[tuple[bytes, bytes]], body: bytes, status: int
) -> None:
    with pytest.raises(Problem) as refused:
        read(headers, body)
    assert refused.value.status == status
