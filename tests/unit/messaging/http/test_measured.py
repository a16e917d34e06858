"""Requests are measured by route and status; what a client chooses makes no series."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orderflow.messaging.http.measured import ROUTE, Measured
from orderflow.messaging.telemetry import render_metrics

COUNT = "http_server_request_duration_seconds_count"

Labels = tuple[str, str, str]


def request(app: ASGIApp, method: str, path: str) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None: ...

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [],
    }

    async def answer() -> None:
        await app(scope, receive, send)

    asyncio.run(answer())


def counts() -> dict[Labels, int]:
    families = text_string_to_metric_families(render_metrics()[0].decode())
    return {
        (
            sample.labels["http_request_method"],
            sample.labels["http_route"],
            sample.labels["http_response_status_code"],
        ): int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == COUNT
    }


async def parcel(request: Request) -> Response:
    return Response(b"", 200 if request.path_params["parcel_id"] == "1" else 404)


@pytest.fixture
def app() -> Measured:
    return Measured(Starlette(routes=[Route("/parcels/{parcel_id}", parcel)]))


def test_a_request_counts_by_its_routes_template_and_its_status(app: Measured) -> None:
    for path in ("/parcels/1", "/parcels/1", "/parcels/2"):
        request(app, "GET", path)
    request(app, "PUT", "/parcels/1")
    found = counts()
    assert found["GET", "/parcels/{parcel_id}", "200"] == 2
    assert found["GET", "/parcels/{parcel_id}", "404"] == 1
    assert found["PUT", "/parcels/{parcel_id}", "405"] == 1


def test_unknown_paths_and_methods_make_one_series_in_all(app: Measured) -> None:
    before = counts()
    for number in range(50):
        request(app, f"MAKE{number}", f"/no/such/path/{number}")
    new = {labels: count for labels, count in counts().items() if labels not in before}
    assert new == {("_OTHER", "", "404"): 50}


def test_what_raises_without_an_answer_counts_as_500() -> None:
    async def broken(scope: Scope, _receive: Receive, _send: Send) -> None:
        scope[ROUTE] = "/hot"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        request(Measured(broken), "POST", "/hot")
    assert counts()["POST", "/hot", "500"] == 1
