"""
What the order API really answers is what its OpenAPI document says, for each route and status.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx2
import pytest
from tests.support.documented import assert_documented
from tests.support.order_service import OrderProcess, OrderService, order_deployed
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

LONG = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}
JSON = {"content-type": "application/json"}
HURRY = {"prefer": "wait=0"}
STEPS = ("pay", "ship", "deliver", "cancel")
NO_SUCH = "/orders/0198a0b2-1111-7222-8333-444455556666"


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        deployed.start("relay")
        yield deployed


@pytest.fixture(scope="module")
def api(service: OrderService) -> OrderProcess:
    return service.start("api")


@pytest.fixture(scope="module")
def document(api: OrderProcess) -> dict[str, Any]:
    served: dict[str, Any] = api.client.get("/openapi.json").json()
    return served


def new_order(client: httpx2.Client) -> str:
    return str(client.post("/api/orders", json={"customerId": "customer-123"}).headers["location"])


def test_every_operation_answers_as_documented(api: OrderProcess, document: dict[str, Any]) -> None:
    client = api.client
    placed = client.post("/orders", json=LONG)
    location = placed.headers["location"]
    form = {"content-type": "text/plain"}
    cancelled = new_order(client)
    client.post(f"{cancelled}/cancel")
    waiting = client.post("/orders", json=LONG).headers["location"]
    client.post(f"{waiting}/retry")
    product = "/products/MOUSE-01"
    seen = {**LONG, "expectedAmountMinor": 1}
    answers = [
        ("/orders", 201, placed),
        ("/api/orders", 201, client.post("/api/orders", json={"customerId": "customer-123"})),
        *(
            (
                path,
                status,
                client.post(
                    path, content=body, headers={"content-type": "application/json"} | headers
                ),
            )
            for path in ("/orders", "/api/orders")
            for status, body, headers in (
                (400, b"{", {}),
                (413, b" " * 70_000, {}),
                (415, b"{}", form),
                (422, b"{}", {}),
            )
        ),
        ("/orders", 200, client.get("/orders?limit=2")),
        ("/orders", 422, client.get("/orders?limit=0")),
        ("/orders/{orderId}", 200, client.get(location)),
        ("/orders/{orderId}", 404, client.get(NO_SUCH)),
        ("/orders/{orderId}/history", 200, client.get(f"{location}/history")),
        ("/orders/{orderId}/history", 200, client.get(f"{location}/history?all=true")),
        ("/orders/{orderId}/history", 404, client.get(f"{NO_SUCH}/history")),
        ("/orders/{orderId}/history", 422, client.get(f"{location}/history?all=maybe")),
        *(
            (
                f"{prefix}/orders/{{orderId}}/{step}",
                status,
                client.post(f"{prefix}{target}/{step}", headers=HURRY),
            )
            for prefix in ("", "/api")
            for step, status, target in (
                *((step, 404, NO_SUCH) for step in STEPS),
                *((step, 409, cancelled) for step in STEPS),
                ("pay", 202, new_order(client)),
                ("cancel", 200, new_order(client)),
            )
        ),
        *(
            (
                "/orders/{orderId}/pay",
                status,
                client.post(f"{new_order(client)}/pay", content=body, headers=headers),
            )
            for status, body, headers in (
                (400, b"{", JSON),
                (413, b" " * 70_000, JSON),
                (415, b"{}", form),
                (422, b'{"paymentMethod": ""}', JSON),
                (400, b"", {"idempotency-key": "with a blank"}),
            )
        ),
        *(
            (f"/orders/{{orderId}}/{verb}", status, client.post(f"{target}/{verb}"))
            for verb, good in (("retry", 202), ("cancel-by-operator", 200))
            for status, target in ((404, NO_SUCH), (409, cancelled), (good, location))
        ),
        ("/orders/{orderId}/retry", 429, client.post(f"{waiting}/retry")),
        *(
            (
                f"/orders/{{orderId}}/{verb}",
                status,
                client.post(f"{waiting}/{verb}", content=b"", headers=headers),
            )
            for verb in ("retry", "cancel-by-operator")
            for status, headers in (
                (400, {"idempotency-key": "with a blank"}),
                (412, {"if-match": '"99"'}),
                (422, {"if-match": "*"}),
            )
        ),
        ("/orders", 409, client.post("/orders", json=seen)),
        ("/api/orders", 409, client.post("/api/orders", json=seen)),
        ("/products", 422, client.get("/products?limit=0")),
        ("/products/{sku}", 200, client.get(product)),
        ("/products/{sku}", 404, client.get("/products/NO-SUCH-THING")),
        *(
            ("/products/{sku}", status, client.put(product, content=body, headers=JSON | headers))
            for status, body, headers in (
                (200, b'{"name": "Mouse", "prices": {"EUR": 3490}}', {}),
                (400, b"{", {}),
                (412, b'{"name": "A", "prices": {"EUR": 1}}', {"if-none-match": "*"}),
                (413, b" " * 70_000, {}),
                (415, b"{}", form),
                (422, b"{}", {}),
            )
        ),
        ("/products/{sku}/history", 200, client.get(f"{product}/history?limit=1")),
        ("/products/{sku}/history", 404, client.get("/products/NO-SUCH-THING/history")),
        ("/products/{sku}/history", 422, client.get(f"{product}/history?cursor=x")),
        *(
            (path, 200, client.get(path))
            for path in ("/products", "/livez", "/readyz", "/metrics", "/docs")
        ),
        ("/openapi.json", 200, client.get("/openapi.json")),
        ("/problems", 200, client.get("/problems")),
        ("/problems/{slug}", 200, client.get("/problems/unavailable")),
        ("/problems/{slug}", 404, client.get("/problems/no-such-problem")),
    ]
    for path, status, answer in answers:
        assert answer.status_code == status, (path, answer.text)
        assert_documented(document, path, answer)
    # What is under /api is described by the same operations, and answered by the same code.
    answered = {path.removeprefix("/api") for path, _, _ in answers}
    assert answered == {path.removeprefix("/api") for path in document["paths"]} - {"/"}


def test_an_api_that_is_not_ready_answers_as_documented(
    service: OrderService, document: dict[str, Any], stack: Stack
) -> None:
    nowhere = stack.postgres_url("no_such_database")
    api = service.start("api", wait=False, ORDERFLOW_ORDER__DATABASE__DSN=nowhere)
    readiness = eventually(partial(api.client.get, "/readyz"), within_s=20)
    for path, answer in (
        ("/readyz", readiness),
        ("/orders", api.client.post("/orders", json=LONG)),
        ("/orders", api.client.get("/orders")),
        ("/orders/{orderId}/retry", api.client.post(f"{NO_SUCH}/retry")),
        ("/orders/{orderId}/cancel-by-operator", api.client.post(f"{NO_SUCH}/cancel-by-operator")),
        ("/products", api.client.get("/products")),
        ("/products/{sku}", api.client.get("/products/MOUSE-01")),
        ("/products/{sku}/history", api.client.get("/products/MOUSE-01/history")),
        (
            "/products/{sku}",
            api.client.put("/products/MOUSE-01", json={"name": "A", "prices": {"EUR": 1}}),
        ),
        ("/orders/{orderId}", api.client.get(NO_SUCH)),
        ("/orders/{orderId}/history", api.client.get(f"{NO_SUCH}/history")),
        *(
            (f"{prefix}/orders/{{orderId}}/{step}", api.client.post(f"{prefix}{NO_SUCH}/{step}"))
            for prefix in ("", "/api")
            for step in STEPS
        ),
    ):
        assert answer.status_code == 503, path
        assert_documented(document, path, answer)


def test_the_documented_examples_are_orders(api: OrderProcess, document: dict[str, Any]) -> None:
    for path in ("/orders", "/api/orders"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"][
            "example"
        ]
        assert api.client.post(path, json=example).status_code == 201


def test_the_documentation_page_needs_no_other_host(api: OrderProcess) -> None:
    page = api.client.get("/docs").text
    assert "//" not in page.replace("<!doctype", "")
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        assert asset in page
        assert api.client.get(f"/docs/assets/{asset}").status_code == 200
