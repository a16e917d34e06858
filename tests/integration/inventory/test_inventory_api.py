"""
The inventory API over HTTP, on a database of its own; every answer is as its OpenAPI document
says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack

from orderflow.stack.demo_data import ON_HAND, put_stock


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("inventory")
    with service_deployed(stack, logs, "inventory") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with service.documented_api() as client:
        yield client


NEW = {"If-None-Match": "*"}


def put(
    client: httpx2.Client, sku: str, body: Any, headers: dict[str, str] | None = None
) -> httpx2.Response:
    """A stock-take that has seen what is there now, unless `headers` say something else."""
    if headers is None:
        tag = client.get(f"/stock/{sku}").headers.get("etag")
        headers = NEW if tag is None else {"If-Match": tag}
    return client.put(f"/stock/{sku}", json=body, headers=headers)


def receive(client: httpx2.Client, sku: str, quantity: object, key: str) -> httpx2.Response:
    headers = {"Idempotency-Key": key, "Orderflow-Actor": "clerk-7"}
    return client.post(f"/stock/{sku}/receipts", json={"quantity": quantity}, headers=headers)


def shown(sku: str, on_hand: int, movements: int, *, received: int = 0, reserved: int = 0) -> Any:
    return {
        "sku": sku,
        "onHand": on_hand,
        "reserved": reserved,
        "available": on_hand - reserved,
        "shipped": 0,
        "received": received,
        "corrected": on_hand - received,
        "movements": movements,
    }


def reserve(service: Service, sku: str, pieces: int) -> None:
    with service.connection() as connection:
        connection.execute("UPDATE stock SET reserved = %s WHERE sku = %s", (pieces, sku))


def test_the_demos_stock_is_put_there_once_and_a_shelf_of_somebody_else_is_left_alone(
    service: Service, client: httpx2.Client
) -> None:
    with service.connection() as connection:
        connection.execute("TRUNCATE stock, stock_movement")
    assert [put_stock(client) for _ in range(2)] == [8, 0]
    page = client.get("/stock").json()
    assert {item["sku"]: item["available"] for item in page["items"]} == ON_HAND
    assert page["nextCursor"] is None

    with service.connection() as connection:
        connection.execute("DELETE FROM stock WHERE sku = 'LAMP-01'")
    receive(client, "THEIRS-01", 1, "note-1")
    assert put_stock(client) == 0


def test_a_stock_take_is_based_on_what_was_seen(client: httpx2.Client) -> None:
    assert put(client, "NEW-01", {"onHand": 5}, headers={}).status_code == 428
    assert put(client, "NEW-01", {"onHand": 5}, {"If-Match": '"0"'}).status_code == 412
    first = put(client, "NEW-01", {"onHand": 5, "reason": "first count"}, NEW)
    assert (first.status_code, first.json()) == (200, shown("NEW-01", 5, 1))
    assert first.headers["etag"] == client.get("/stock/NEW-01").headers["etag"] == '"1"'
    assert put(client, "NEW-01", {"onHand": 5}, NEW).status_code == 412

    for number, on_hand in enumerate((0, 1_000_000_000), 2):
        answer = put(client, "NEW-01", {"onHand": on_hand})
        assert (answer.status_code, answer.json()) == (200, shown("NEW-01", on_hand, number))
        assert client.get("/stock/NEW-01").json() == shown("NEW-01", on_hand, number)

    late = put(client, "NEW-01", {"onHand": 6}, {"If-Match": '"1"'})
    assert (late.status_code, late.json()["type"]) == (412, "/problems/precondition-failed")
    assert "1000000000 of NEW-01 are there after movement 3, not 1" in late.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "*"},
        {"If-Match": 'W/"1"'},
        {"If-Match": '"1"', **NEW},
        {"If-None-Match": '"1"'},
    ],
)
def test_a_precondition_that_would_not_be_checked_is_refused(
    client: httpx2.Client, headers: dict[str, str]
) -> None:
    assert put(client, "NEVER-01", {"onHand": 5}, headers).status_code == 422


def test_a_receipt_adds_once_for_each_key(client: httpx2.Client) -> None:
    first, again = (receive(client, "CAME-01", 50, "note-1") for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.status_code == 201
    assert first.json().items() >= {"sequence": 1, "kind": "RECEIPT", "quantity": 50}.items()
    other = receive(client, "CAME-01", 51, "note-1")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    receive(client, "CAME-01", 8, "note-2")
    assert client.get("/stock/CAME-01").json() == shown("CAME-01", 58, 2, received=58)
    assert receive(client, "CAME-01", 1_000_000_000, "note-3").status_code == 409


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "5", None, 1_000_000_001])
def test_a_receipt_of_anything_else_is_not_valid(client: httpx2.Client, quantity: object) -> None:
    assert receive(client, "NEVER-01", quantity, "note-1").status_code == 422
    assert client.get("/stock/NEVER-01").status_code == 404


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 256])
def test_a_receipt_without_a_valid_key_is_refused(client: httpx2.Client, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/stock/NEVER-01/receipts", json={"quantity": 1}, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (
        400,
        "/problems/idempotency-key-malformed",
    )


def test_every_movement_can_be_read_back_with_who_and_why(client: httpx2.Client) -> None:
    receive(client, "MOVED-01", 5, "note-1")
    put(client, "MOVED-01", {"onHand": 4, "reason": "one was broken"})
    newest = client.get("/stock/MOVED-01/movements", params={"limit": 1}).json()
    [correction] = newest["items"]
    assert (correction["quantity"], correction["onHand"]) == (-1, 4)
    assert (correction["actor"], correction["reason"]) == ("anonymous", "one was broken")
    older = client.get("/stock/MOVED-01/movements", params={"cursor": newest["nextCursor"]}).json()
    [receipt] = older["items"]
    assert (receipt["receiptKey"], receipt["actor"]) == ("note-1", "clerk-7")
    assert older["nextCursor"] is None
    assert client.get("/stock/NEVER-01/movements").status_code == 404
    assert client.get("/stock/MOVED-01/movements?cursor=x").status_code == 422


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
    assert client.get("/stock/KEPT-01").json() == shown("KEPT-01", 7, 1, reserved=4)
    assert put(client, "KEPT-01", {"onHand": 4}).json() == shown("KEPT-01", 4, 2, reserved=4)


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
    assert put(client, sku, {"onHand": 5}, NEW).status_code == 422
    assert receive(client, sku, 5, "note-1").status_code == 422
    assert client.get(f"/stock/{sku}").status_code == 404
    assert client.get(f"/reservations/{sku}").status_code == 404
    assert client.get(f"/stock?cursor={sku}").status_code == 422


def test_pages_follow_each_other_and_end(service: Service, client: httpx2.Client) -> None:
    with service.connection() as connection:
        connection.execute(
            "INSERT INTO stock (sku, on_hand, received)"
            " SELECT 'PAGE-' || n, 1, 1 FROM generate_series(1, 700) n"
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
    order_id, payment_id = str(uuid4()), str(uuid4())
    with service.connection() as connection:
        connection.execute(
            "INSERT INTO reservation VALUES (%s, 'customer-1', %s, 'RELEASED',"
            """ '[{"sku": "LAMP-01", "quantity": 2}]', now(), now())""",
            (order_id, payment_id),
        )
    assert client.get(f"/reservations/{order_id}").json() == {
        "orderId": order_id,
        "customerId": "customer-1",
        "paymentId": payment_id,
        "status": "RELEASED",
        "lines": [{"sku": "LAMP-01", "quantity": 2}],
    }
    assert client.get("/reservations/order-2").status_code == 404


def test_a_reservation_is_found_however_its_order_is_spelt(
    service: Service, client: httpx2.Client
) -> None:
    order_id = "0198a0b2-aaaa-7bbb-8ccc-ddddeeeeffff"
    with service.connection() as connection:
        connection.execute(
            "INSERT INTO reservation VALUES (%s, 'customer-1', %s, 'RELEASED', '[]', now(), now())",
            (order_id, str(uuid4())),
        )
    for spelt in (order_id, order_id.upper(), order_id.replace("-", "")):
        assert client.get(f"/reservations/{spelt}").json()["orderId"] == order_id


def test_a_row_that_somebody_holds_is_503_after_seconds_and_the_service_goes_on(
    service: Service, client: httpx2.Client
) -> None:
    put(client, "HELD-01", {"onHand": 1})
    with service.connection() as connection:
        connection.execute("SELECT FROM stock WHERE sku = 'HELD-01' FOR UPDATE")
        answer = put(client, "HELD-01", {"onHand": 2}, {"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert answer.headers["retry-after"] == "2"
    assert put(client, "HELD-01", {"onHand": 2}).status_code == 200
