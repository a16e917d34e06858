"""What every route of an API keeps to: known parameters, and the methods that there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from orderflow.messaging.http.api import http_api


def parameter(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}}


DOCUMENT = {
    "paths": {
        "/things": {
            "get": {"parameters": [parameter("owner", "string"), parameter("state", "array")]},
            "post": {},
        },
        "/things/{thingId}": {"get": {"parameters": []}},
    }
}


def get(request: Request) -> Response:
    return PlainTextResponse(str(request.query_params))


async def post(_request: Request) -> Response:
    return PlainTextResponse("done")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    routes = [
        Route("/things", get, methods=["GET"]),
        Route("/things", post, methods=["POST"]),
        Route("/things/{thing_id}", get, methods=["GET"]),
    ]
    api = http_api(routes, title="Things", document=lambda: DOCUMENT, reasons=list)
    with TestClient(api, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "url", "detail"),
    [
        ("GET", "/things?ownr=a", "ownr is no parameter; there are owner, state"),
        ("HEAD", "/things?ownr=a", None),
        ("GET", "/things?owner=a&owner=b", "owner can be given once"),
        ("POST", "/things?owner=a", "owner is no parameter; none is known here"),
        ("GET", "/things/1?x", "x is no parameter; none is known here"),
    ],
)
def test_a_parameter_that_the_document_does_not_name_is_refused(
    client: TestClient, method: str, url: str, detail: str | None
) -> None:
    answer = client.request(method, url)
    assert answer.status_code == 422
    if detail is not None:
        assert (answer.json()["type"], answer.json()["detail"]) == (
            "/problems/invalid-request",
            detail,
        )


@pytest.mark.parametrize("query", ["", "owner=a", "owner=a&state=b&state=c"])
def test_parameters_of_the_document_come_through(client: TestClient, query: str) -> None:
    assert client.get(f"/things?{query}").text == query


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/things", "GET, HEAD, OPTIONS, POST"),
        ("/things/1", "GET, HEAD, OPTIONS"),
        ("/readyz", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_path_tells_all_its_methods(client: TestClient, path: str, allow: str) -> None:
    told = client.options(path)
    assert (told.status_code, told.headers["allow"], told.content) == (204, allow, b"")

    for method in ("DELETE", "TRACE", "BREW"):
        refused = client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allow)
        assert refused.json()["type"] == "/problems/method-not-allowed"


def test_the_start_leads_to_the_documentation_of_this_host_whatever_the_request_calls_it(
    client: TestClient,
) -> None:
    answer = client.get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("traceparent", "instance"),
    [
        (f"00-{TRACE_ID}-b7ad6b7169203331-01", f"/traces/{TRACE_ID}"),
        ("none", None),
        (None, None),
    ],
)
def test_a_problem_names_the_trace_of_its_request(
    client: TestClient, traceparent: str | None, instance: str | None
) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    for path in ("/things?x=1", "/nowhere"):
        assert client.get(path, headers=headers).json().get("instance") == instance
