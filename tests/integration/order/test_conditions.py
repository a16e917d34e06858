"""What a command may say beside itself: what it expects, its key, and how long it waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from tests.support.order_service import OrderService, order_deployed
from tests.support.stack import Stack

CUSTOMER = "customer-123"
REPLAYED = "idempotent-replayed"


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        deployed.start("relay")
        yield deployed


@pytest.fixture(scope="module")
def api(service: OrderService) -> httpx2.Client:
    return service.start("api").client


@pytest.fixture
def order(api: httpx2.Client) -> str:
    return str(api.post("/api/orders", json={"customerId": CUSTOMER}).headers["location"])


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid4().hex}


def test_every_answer_shows_the_same_order_with_what_it_waits_for(api: httpx2.Client) -> None:
    placed = api.post("/api/orders", json={"customerId": CUSTOMER})
    path = placed.headers["location"]
    read = api.get(path)
    assert read.json() == {key: value for key, value in placed.json().items() if key != "message"}
    assert read.json()["waiting"]["for"] == "PAY"
    assert placed.headers["etag"] == read.headers["etag"] == '"1"'

    later = api.post(f"{path}/pay", headers={"Prefer": "wait=0"})
    assert (later.status_code, later.json()["waiting"]["for"]) == (202, "PAYMENT")
    assert later.headers["etag"] == f'"{later.json()["revision"]}"'


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_whatever_can_be_read_is_under_both_prefixes(
    api: httpx2.Client, order: str, prefix: str
) -> None:
    order_id = order.rpartition("/")[2]
    assert api.get(f"{prefix}{order}").json()["orderId"] == order_id
    assert len(api.get(f"{prefix}{order}/history").json()["items"]) == 1
    listed = api.get(f"{prefix}/orders", params={"limit": 1}).json()["items"]
    assert [item["orderId"] for item in listed] == [order_id]
    assert api.get(f"{prefix}/products").json()["items"]


def test_a_command_for_another_revision_has_no_effect(api: httpx2.Client, order: str) -> None:
    seen = api.get(order).headers["etag"]
    api.post(f"{order}/pay", headers={"Prefer": "wait=0"})
    late = api.post(f"{order}/cancel", headers={"If-Match": seen, **keyed("late")})
    assert (late.status_code, late.json()["type"]) == (412, "/problems/precondition-failed")
    assert late.json()["orderStatus"] == "CREATED"
    assert api.post(f"{order}/cancel", headers={"If-Match": "*"}).status_code == 422

    now = {"If-Match": api.get(order).headers["etag"], **keyed("late")}
    done = api.post(f"{order}/cancel", headers=now)
    assert (done.status_code, done.json()["status"]) == (200, "CANCELLED")
    again = api.post(f"{order}/cancel", headers=now)
    assert (again.status_code, again.content) == (200, done.content), "a repeat is no late command"


def test_a_repeated_command_with_its_key_gets_the_first_answer(
    service: OrderService, api: httpx2.Client, order: str
) -> None:
    key = keyed()
    first = api.post(f"{order}/cancel", headers=key)
    assert first.status_code == 200
    assert REPLAYED not in first.headers
    before = service.rows()
    for path in (f"{order}/cancel", f"/api{order}/cancel"):
        again = api.post(path, headers=key)
        assert (again.status_code, again.content) == (200, first.content)
        assert (again.headers[REPLAYED], again.headers["etag"]) == ("true", first.headers["etag"])
    assert service.rows() == before

    # Without the key it is another command, which a cancelled order refuses.
    assert api.post(f"{order}/cancel").status_code == 409
    assert api.post(f"{order}/cancel", headers=keyed()).status_code == 409


def test_a_refused_command_does_not_burn_its_key(api: httpx2.Client, order: str) -> None:
    key = keyed()
    for command in ("ship", "deliver"):
        refused = api.post(f"{order}/{command}", headers=key)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-allowed")
    assert api.post(f"{order}/cancel", headers=key).status_code == 200


@pytest.mark.parametrize("command", ["retry", "cancel-by-operator"])
def test_an_operator_s_command_has_a_key_and_a_condition_as_every_other(
    service: OrderService, api: httpx2.Client, order: str, command: str
) -> None:
    api.post(f"{order}/pay", headers={"Prefer": "wait=0"})
    path, key, body = f"{order}/{command}", keyed(), {"reason": "ticket 4711"}
    late = api.post(path, json=body, headers={"If-Match": '"1"', **key})
    assert (late.status_code, late.json()["type"]) == (412, "/problems/precondition-failed")
    assert api.post(path, json=body, headers={"If-Match": "x", **key}).status_code == 422

    now = {"If-Match": api.get(order).headers["etag"], **key}
    first = api.post(path, json=body, headers=now)
    assert first.status_code == (202 if command == "retry" else 200), first.text
    assert REPLAYED not in first.headers
    before = service.rows()
    for prefix in ("", "/api"):
        again = api.post(f"{prefix}{path}", json=body, headers=now)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert (again.headers[REPLAYED], again.headers.get("etag")) == (
            "true",
            first.headers.get("etag"),
        )
    other = api.post(path, json={"reason": "ticket 4712"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    malformed = api.post(path, headers={"Idempotency-Key": "with a blank"})
    assert malformed.json()["type"] == "/problems/idempotency-key-malformed"
    assert service.rows() == before


def test_a_key_of_a_refused_act_is_free(api: httpx2.Client, order: str) -> None:
    key = keyed()
    refused = api.post(f"{order}/retry", headers=key)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/nothing-to-retry")
    api.post(f"{order}/pay", headers={"Prefer": "wait=0"})
    assert api.post(f"{order}/retry", headers=key).status_code == 202
    nobody = f"/orders/{uuid4()}/retry"
    assert [api.post(nobody, headers=key).status_code for _ in range(2)] == [404, 404]


def test_what_an_order_waits_for_is_asked_for_again_once_in_ten_seconds(
    service: OrderService, api: httpx2.Client, order: str
) -> None:
    api.post(f"{order}/pay", headers={"Prefer": "wait=0"})
    with ThreadPoolExecutor(8) as operators:
        answers = [*operators.map(lambda _: api.post(f"{order}/retry"), range(8))]
    # Who finds that the order moved on under the search is told to look again.
    assert [answer.status_code for answer in answers].count(202) == 1
    assert {answer.status_code for answer in answers} <= {202, 429, 503}

    before = service.rows()
    refused = api.post(f"{order}/retry")
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-soon")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert service.rows() == before

    order_id = order.rpartition("/")[2]
    with service.connection() as connection:
        connection.execute(
            "UPDATE order_history SET occurred_at = occurred_at - interval '10 s' "
            "WHERE order_id = %s AND cause_type = 'operator'",
            (order_id,),
        )
        connection.execute(
            "UPDATE orders SET waiting_since = waiting_since - interval '10 s' WHERE order_id = %s",
            (order_id,),
        )
    assert api.post(f"{order}/retry").status_code == 202


def test_two_customers_may_choose_the_same_key(api: httpx2.Client) -> None:
    key = keyed()
    mine, theirs = (
        api.post("/api/orders", json={"customerId": customer}, headers=key)
        for customer in (CUSTOMER, "customer-124")
    )
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["orderId"] != theirs.json()["orderId"]
    again = api.post("/api/orders", json={"customerId": CUSTOMER}, headers=key)
    assert (again.content, again.headers[REPLAYED]) == (mine.content, "true")
    assert REPLAYED not in mine.headers


def test_two_keys_are_refused(api: httpx2.Client, order: str) -> None:
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    body = {"customerId": CUSTOMER}
    for answer in (
        api.post("/api/orders", json=body, headers=keys),
        api.post(f"{order}/cancel", headers=keys),
    ):
        assert (answer.status_code, answer.json()["type"]) == (
            400,
            "/problems/idempotency-key-malformed",
        )


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=0", "wait=0"),
        ("respond-async", "respond-async"),
        ("respond-async, wait=0", "wait=0"),
    ],
)
def test_the_answer_says_what_was_understood_of_a_wish(
    api: httpx2.Client, order: str, prefer: str, applied: str
) -> None:
    answer = api.post(f"{order}/pay", headers={"Prefer": prefer})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, applied)


def test_a_wish_that_is_not_understood_is_not_said_to_be(api: httpx2.Client, order: str) -> None:
    api.post(f"{order}/cancel")
    answer = api.post(f"{order}/pay", headers={"Prefer": "wait=abc"})
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("command", ["ship", "deliver", "cancel"])
@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"amount": 1}', "application/json", 422),
        (b"not json", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * 70_000, "application/json", 413),
    ],
)
def test_a_body_that_says_what_nobody_reads_is_refused(
    api: httpx2.Client, order: str, command: str, body: bytes, media_type: str, status: int
) -> None:
    headers = {"content-type": media_type}
    answer = api.post(f"{order}/{command}", content=body, headers=headers)
    assert answer.status_code == status
    assert api.get(order).json()["revision"] == 1


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n",
        b"Content-Length: 00\r\n",
    ],
)
@pytest.mark.parametrize("command", ["pay", "cancel"])
def test_a_body_without_a_byte_is_none_however_it_is_sent(
    service: OrderService, api: httpx2.Client, order: str, command: str, head: bytes
) -> None:
    address = urlsplit(str(api.base_url))
    end = b"0\r\n\r\n" if b"chunked" in head else b""
    start = f"POST {order}/{command} HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n".encode()
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(start + head + b"Connection: close\r\n\r\n" + end)
        assert connection.recv(65_536).split()[1] in (b"200", b"202")


def test_a_packed_body_is_refused(api: httpx2.Client, order: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    for path in ("/api/orders", f"{order}/pay"):
        answer = api.post(path, content=b'{"customerId": "customer-123"}', headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (
            415,
            "/problems/unsupported-content-encoding",
        )


@pytest.mark.parametrize("command", ["pay", "ship", "deliver", "cancel"])
def test_a_misspelt_customer_is_refused_before_anything_is_done(
    api: httpx2.Client, order: str, command: str
) -> None:
    answer = api.post(f"{order}/{command}", params={"customer": "customer-124"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "customer is no parameter; there is customerId"
    assert api.get(order).json()["revision"] == 1


def test_parameters_of_a_new_order_are_refused_too(
    service: OrderService, api: httpx2.Client
) -> None:
    before = service.rows()
    for path in ("/orders?dryRun=true", "/api/orders?customerId=customer-123"):
        assert api.post(path, json={"customerId": CUSTOMER}).status_code == 422
    assert service.rows() == before


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/orders", "GET, HEAD, OPTIONS, POST"),
        ("/api/orders", "GET, HEAD, OPTIONS, POST"),
        ("/products/MOUSE-01", "GET, HEAD, OPTIONS, PUT"),
    ],
)
def test_a_path_tells_all_its_methods(api: httpx2.Client, path: str, allow: str) -> None:
    for method, status in (("OPTIONS", 204), ("DELETE", 405), ("TRACE", 405)):
        answer = api.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (status, allow)
