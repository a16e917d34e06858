"""
Measures every request of a process: by method, route and status, never by path.

An application that does not route by Starlette says in `scope[ROUTE]` which route it took.
"""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderflow.messaging.telemetry import Histogram, histogram

ROUTE = "orderflow.route"
NO_ROUTE = ""
"""The label of what no route takes: paths are anybody's choice, and would be labels without end."""

METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
OTHER_METHOD = "_OTHER"
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

DURATION_S = histogram(
    "http_server_request_duration_seconds",
    "How long requests take, until their last byte is handed over.",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=BUCKETS_S,
    namespace="",
)


class Measured:
    """`app`, measured. A request that ends without an answer counts as 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # To look a series up by its labels takes the metric's lock.
        self._series: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        began, status = perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = perf_counter() - began
            self._of(scope["method"], _route_of(scope), status).observe(seconds)

    def _of(self, method: str, route: str, status: int) -> Histogram:
        key = method, route, status
        series = self._series.get(key)
        if series is None:
            known = method if method in METHODS else OTHER_METHOD
            series = DURATION_S.labels(known, route, status)
            # Unknown methods are anybody's choice too: they are looked up each time.
            if method in METHODS:
                self._series[key] = series
        return series


def _route_of(scope: Scope) -> str:
    """The template of the route that took the request."""
    route = scope.get(ROUTE) or getattr(scope.get("route"), "path", NO_ROUTE)
    assert isinstance(route, str)
    return route
