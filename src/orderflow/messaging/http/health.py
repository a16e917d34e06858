"""Health and metrics over HTTP: the same three routes in every process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from orderflow.messaging.http import problems
from orderflow.messaging.http.problems import Handler
from orderflow.messaging.http.snapshot import Snapshot
from orderflow.messaging.telemetry import render_metrics
from orderflow.messaging.work.reasons import Reasons, split

__all__ = ["Reasons", "application", "json_answer", "routes", "without_redirects"]


def routes(reasons: Reasons) -> list[BaseRoute]:
    """
    `/livez`: the process runs. `/readyz`: 200, or 503 with reasons. `/metrics`: Prometheus.

    The first two are answered at once, without a thread, a database or a broker. `reasons` is the
    process's snapshot; other functions are asked in each request.
    """

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        age_s = reasons.age_s if isinstance(reasons, Snapshot) else 0.0
        against, degraded = split(reasons())
        answer = {
            "ready": not against,
            "reasons": against,
            "degraded": degraded,
            "age_s": round(age_s, 1),
        }
        return json_answer(answer, status=503 if against else 200)

    def metrics(_request: Request) -> Response:
        body, content_type = render_metrics()
        return Response(body, headers={"content-type": content_type})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


def application(reasons: Reasons) -> ASGIApp:
    """The application of a process without an API."""
    return without_redirects(routes(reasons), problems.handlers())


def without_redirects(
    routes: Iterable[BaseRoute], exception_handlers: Mapping[Any, Handler]
) -> Starlette:
    """
    An application in which a path with a slash too many is 404.

    A redirect would name the host of the request's `Host` header, which anybody can choose.
    """
    application = Starlette(routes=[*routes], exception_handlers=exception_handlers)
    application.router.redirect_slashes = False
    return application


def json_answer(value: object, *, status: int = 200) -> Response:
    """`value`, of a type that msgspec encodes, as a response with a JSON body."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
