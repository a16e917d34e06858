"""
What every HTTP API has in common, in one place, so that no service can forget a part of it.

Problem documents for every error, `/livez`, `/readyz`, `/metrics`, `/openapi.json`, and `/docs`,
whose assets the process serves itself: it works without internet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from orderflow.messaging.http import health, problems, routing
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.problem_types import ProblemType, problem_pages
from orderflow.messaging.http.problems import FromError, from_error


def http_api(
    routes: Iterable[BaseRoute],
    *,
    title: str,
    document: Callable[[], Mapping[str, Any]],
    reasons: Reasons,
    translate: FromError = from_error,
    expected: Iterable[type[Exception]] = (),
    problem_types: Iterable[ProblemType] = (),
) -> Starlette:
    """
    An API of `routes`, its OpenAPI `document`, health and problem documents.

    `translate` makes a problem of an error; errors of the `expected` types are not logged with a
    traceback. `reasons`: why the process is not ready. `problem_types`: what its problems mean,
    beside those that every API has.

    A path with a slash too many is 404, not a redirect. What `document` does not name is refused,
    see `routing`; `GET /` leads to the document.
    """
    own = routing.strict(routes, document)
    return health.without_redirects(
        routing.with_other_methods(
            [
                *own,
                *health.routes(reasons),
                *_documents(document, title),
                *problem_pages(problem_types),
            ],
        ),
        problems.handlers(*expected, translate=translate),
    )


def _documents(document: Callable[[], Mapping[str, Any]], title: str) -> list[BaseRoute]:
    """`/openapi.json`, and `/docs` for people."""
    page = _PAGE.format(title=title)

    def openapi(_request: Request) -> Response:
        return json_answer(document())

    def docs(_request: Request) -> Response:
        return HTMLResponse(page)

    def start(_request: Request) -> Response:
        # Without a host: the request's own is anybody's choice.
        return Response(status_code=HTTPStatus.TEMPORARY_REDIRECT, headers={"location": "/docs"})

    # The package is found and not imported: its code is slow to load, and only its files are used.
    assets = StaticFiles(packages=[("swagger_ui", "static")])
    return [
        Route("/", start),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Mount("/docs/assets", assets),
    ]


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "/openapi.json", dom_id: "#ui", deepLinking: true}});</script>
</body>
</html>
"""
