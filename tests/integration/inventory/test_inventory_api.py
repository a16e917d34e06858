"""
The inventory API over HTTP, on a database of its own; every answer is as its OpenAPI document
says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("inventory")
    with service_deployed(stack, logs, "inventory") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with service.documented_api() as client:
        yield client


def put(client: httpx2.Client, sku: str, body: Any) -> httpx2.Response:
    return client.put(f"/stock/{sku}", json=body)


def shown(sku: str, on_hand: int, reserved: int = 0, shipped: int = 0) -> dict[str, Any]:
    return {
        "sku": sku,
        "onHand": on_hand,
        "reserved": reserved,
        "available": on_hand - reserved,
        "shipped": shipped,
    }


def reserve(service: Service, sku: str, pieces: int) -> None:
    with service.connection() as connection:
        connection.execute("UPDATE stock SET reserved = %s WHERE sku = %s", (pieces, sku))


def test_a_fresh_system_has_stock_of_the_demos_products_and_one_is_sold_out(
    client: httpx2.Client,
) -> None:
    page = client.get("/stock").json()
    stock = {item["sku"]: item["available"] for item in page["items"]}
    assert stock["KEYBOARD-01"] > 0
    assert stock["DESK-160"] == 0
    assert page["nextCursor"] is None


def test_what_is_put_is_there_whatever_was_there_before(client: httpx2.Client) -> None:
    for on_hand in (5, 0, 1_000_000_000):
        answer = put(client, "NEW-01", {"onHand": on_hand})
        assert (answer.status_code, answer.json()) == (200, shown("NEW-01", on_hand))
        assert client.get("/stock/NEW-01").json() == shown("NEW-01", on_hand)


def test_less_than_is_reserved_is_a_conflict_and_changes_nothing(
    service: Service, client: httpx2.Client
) -> None:
    put(client, "KEPT-01", {"onHand": 7})
    reserve(service, "KEPT-01", 4)
    answer = put(client, "KEPT-01", {"onHand": 3})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/below-reserved"
    assert "4 of KEPT-01 are reserved" in answer.json()["detail"]
    assert client.get("/stock/KEPT-01").json() == shown("KEPT-01", 7, 4)
    assert put(client, "KEPT-01", {"onHand": 4}).json() == shown("KEPT-01", 4, 4)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"onHand": -1}, 422),
        ({"onHand": 1_000_000_001}, 422),
        ({"onHand": 1.5}, 422),
        ({"onHand": "5"}, 422),
        ({"onHand": None}, 422),
        ({"onHand": 5, "reserved": 0}, 422),
        ({}, 422),
        ([], 422),
    ],
)
def test_anything_else_is_not_valid(client: httpx2.Client, body: Any, status: int) -> None:
    answer = put(client, "NEVER-01", body)
    assert (answer.status_code, answer.json()["type"]) == (status, "/problems/invalid-request")
    assert client.get("/stock/NEVER-01").status_code == 404


def test_bodies_that_are_no_json_too_long_or_something_else_are_refused(
    client: httpx2.Client,
) -> None:
    as_json = {"Content-Type": "application/json"}
    assert client.put("/stock/NEVER-01", content=b"{", headers=as_json).status_code == 400
    assert client.put("/stock/NEVER-01", content=b" " * 70_000, headers=as_json).status_code == 413
    assert client.put("/stock/NEVER-01", content=b"onHand=5").status_code == 415
    assert client.post("/stock/NEVER-01", json={"onHand": 5}).status_code == 405


@pytest.mark.parametrize("sku", ["%00", "a%20b", "x" * 65, "%F0%9F%92%A3", "-A"])
def test_what_can_be_no_product_is_never_one(client: httpx2.Client, sku: str) -> None:
    assert put(client, sku, {"onHand": 5}).status_code == 422
    assert client.get(f"/stock/{sku}").status_code == 404
    assert client.get(f"/reservations/{sku}").status_code == 404
    assert client.get(f"/stock?cursor={sku}").status_code == 422


def test_pages_follow_each_other_and_end(service: Service, client: httpx2.Client) -> None:
    with service.connection() as connection:
        connection.execute(
            "INSERT INTO stock (sku, on_hand) SELECT 'PAGE-' || n, 1 FROM generate_series(1, 700) n"
        )
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get("/stock", params={"cursor": cursor}).json()
        seen += [item["sku"] for item in page["items"]]
        assert len(page["items"]) <= 500
        cursor = page["nextCursor"]
    assert seen == sorted(set(seen))
    assert len([sku for sku in seen if sku.startswith("PAGE-")]) == 700


def test_a_reservation_can_be_looked_up(service: Service, client: httpx2.Client) -> None:
    with service.connection() as connection:
        connection.execute(
            "INSERT INTO reservation VALUES ('order-1', 'customer-1', 'payment-1', 'RELEASED',"
            """ '[{"sku": "LAMP-01", "quantity": 2}]', now(), now())"""
        )
    assert client.get("/reservations/order-1").json() == {
        "orderId": "order-1",
        "customerId": "customer-1",
        "paymentId": "payment-1",
        "status": "RELEASED",
        "lines": [{"sku": "LAMP-01", "quantity": 2}],
    }
    assert client.get("/reservations/order-2").status_code == 404


def test_a_row_that_somebody_holds_is_503_after_seconds_and_the_service_goes_on(
    service: Service, client: httpx2.Client
) -> None:
    put(client, "HELD-01", {"onHand": 1})
    with service.connection() as connection:
        connection.execute("SELECT FROM stock WHERE sku = 'HELD-01' FOR UPDATE")
        answer = put(client, "HELD-01", {"onHand": 2})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert answer.headers["retry-after"] == "2"
    assert put(client, "HELD-01", {"onHand": 2}).status_code == 200
