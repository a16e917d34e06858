"""
A back end for spans that takes them all and keeps only their number, in a process of its own.

`python -m orderflow.bench.tracing.back_end PORT`. `GET` answers the number.
"""

from __future__ import annotations

import sys

import httpx2
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orderflow.messaging.http.server import Role, serve

PATH = "/api/v2/spans"


class Counter:
    """The number of spans so far."""

    def __init__(self) -> None:
        self.spans = 0

    async def answer(self, request: Request) -> Response:
        if request.method == "GET":
            return PlainTextResponse(str(self.spans))
        self.spans += len(msgspec.json.decode(await request.body(), type=list[msgspec.Raw]))
        return Response(status_code=202)


def taken(port: int) -> int | None:
    """How many spans the back end on this port has taken; None while it does not answer."""
    try:
        return int(httpx2.get(f"http://127.0.0.1:{port}{PATH}", timeout=2, trust_env=False).text)
    except httpx2.TransportError:
        return None


def main(port: int) -> None:
    route = Route(PATH, Counter().answer, methods=["GET", "POST"])
    application = Starlette(routes=[route])
    serve(lambda _fail: Role(name="spans", host="127.0.0.1", port=port, app=lambda _r: application))


if __name__ == "__main__":
    main(int(sys.argv[1]))
