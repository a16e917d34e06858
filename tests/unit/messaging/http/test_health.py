"""What every process answers over HTTP, an API or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orderflow.messaging.http import health


def status_of(path: str) -> int:
    """The status that the application of a process without an API answers to GET `path`."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"evil.example")],
    }

    async def answer() -> None:
        await health.application(list)(scope, receive, send)

    asyncio.run(answer())
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_a_path_with_a_slash_too_many_is_not_redirected_to_the_requests_host(path: str) -> None:
    assert (status_of(path), status_of(f"{path}/")) == (200, 404)
