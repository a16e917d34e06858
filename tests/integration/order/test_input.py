"""Whatever a client sends: a problem document, no row, no event, and no memory lost."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from tests.support.order_service import TOPICS, OrderProcess, OrderService, order_deployed
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

JSON = {"content-type": "application/json"}
RSS_GROWTH_BYTES_MAX = 20 * 1024 * 1024
CHUNKED_BYTES = 100 * 1024 * 1024
LINE = {"sku": "MOUSE-01", "quantity": 1}


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        deployed.start("relay")
        yield deployed


@pytest.fixture(scope="module")
def api(service: OrderService) -> OrderProcess:
    return service.start("api")


def order(**changed: object) -> bytes:
    return json.dumps({"customerId": "customer-123", "lines": [LINE], **changed}).encode()


def line(**changed: object) -> bytes:
    return order(lines=[{**LINE, **changed}])


MALFORMED = {
    "nothing": b"",
    "half a document": b'{"customerId": "customer-123", "lines": [',
    "two documents": order() + order(),
    "a byte order mark": b"\xef\xbb\xbf" + order(),
    "not UTF-8": b'{"customerId": "\xff\xfe", "lines": []}',
    "NaN": b'{"customerId": "c", "lines": [{"sku": "MOUSE-01", "quantity": NaN}]}',
    "infinity": b'{"customerId": "c", "lines": [{"sku": "MOUSE-01", "quantity": -Infinity}]}',
    "a raw control character": b'{"customerId": "a\x01b", "lines": []}',
    "a lone surrogate": b'{"customerId": "\\ud800", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}',
    "a lone surrogate in UTF-8": b'{"customerId": "\xed\xa0\x80", "lines": []}',
}
INVALID = {
    "an array": b"[]",
    "null": b"null",
    "30,000 arrays in each other, in an unknown field": b'{"x":'
    + b"[" * 30_000
    + b"]" * 30_000
    + b"}",
    "60,000 arrays in each other": b"[" * 60_000,
    "4,000 objects in each other": b'{"customerId":' * 4_000 + b"1" + b"}" * 4_000,
    "a number": b"1e400",
    "no customer": order(customerId=None),
    "an empty customer": order(customerId=""),
    "a blank customer": order(customerId="   "),
    "a customer that ends in a newline": order(customerId="customer\n"),
    "a customer of 65 characters": order(customerId="c" * 65),
    "an escaped control character": order(customerId="a\x00b"),
    "a customer that is a number": order(customerId=7),
    "a customer beyond ASCII": order(customerId="kundé"),
    "an unknown field": order(discount=100),
    "a price of the client's own": line(unitPriceMinor=1),
    "lines that are an object": order(lines={}),
    "500 lines": order(lines=[{"sku": f"SKU-{n}", "quantity": 1} for n in range(500)]),
    "quantity zero": line(quantity=0),
    "a negative quantity": line(quantity=-1),
    "a huge quantity": line(quantity=10_001),
    "a quantity beyond 64 bits": line(quantity=10**30),
    "a fractional quantity": line(quantity=1.5),
    "a quantity in words": line(quantity="1"),
    "a quantity that is true": line(quantity=True),
    "an empty SKU": line(sku=""),
    "a currency in small letters": order(currency="eur"),
    "a currency of four letters": order(currency="EURO"),
    "an empty payment method": order(paymentMethod=""),
}
BROKEN_RULES = {
    "unknown-sku": line(sku="NO-SUCH-THING"),
    "repeated-sku": order(lines=[LINE, LINE]),
    "no-price": order(lines=[{"sku": "DESK-160", "quantity": 1}], currency="JPY"),
}


def bad_requests() -> list[tuple[str, dict[str, str], bytes, int, str]]:
    return [
        *((name, JSON, body, 400, "malformed-json") for name, body in MALFORMED.items()),
        *((name, JSON, body, 422, "invalid-request") for name, body in INVALID.items()),
        *((slug, JSON, body, 422, slug) for slug, body in BROKEN_RULES.items()),
        ("65 KiB", JSON, order(customerId="c" * 65 * 1024), 413, "body-too-large"),
        ("no content type", {}, order(), 415, "unsupported-media-type"),
        (
            "a form",
            {"content-type": "application/x-www-form-urlencoded"},
            order(),
            415,
            "unsupported-media-type",
        ),
        *(
            (
                f"key {key!r}",
                {**JSON, "idempotency-key": key},
                order(),
                400,
                "idempotency-key-malformed",
            )
            for key in ("", "two words", "k" * 256, "schlüssel".encode().decode("latin-1"))
        ),
    ]


BAD = bad_requests()


def post(
    api: OrderProcess, headers: Mapping[str, str], body: bytes, path: str = "/orders"
) -> httpx2.Response:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return api.client.post(path, content=body, headers=raw)


def assert_problem(answer: httpx2.Response, status: int, slug: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    document = answer.json()
    assert (document["type"], document["status"]) == (f"/problems/{slug}", status)
    assert document["title"]
    for inside in ("Traceback", "psycopg", "msgspec", "File "):
        assert inside not in answer.text


def test_the_long_form_needs_a_line(api: OrderProcess) -> None:
    for body in (order(lines=[]), b'{"customerId": "customer-123"}'):
        assert_problem(post(api, JSON, body), 422, "invalid-request")


@pytest.mark.parametrize(
    ("headers", "body", "status", "slug"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD]
)
@pytest.mark.parametrize("path", ["/orders", "/api/orders"])
def test_it_is_a_problem_document_and_no_row(
    service: OrderService,
    api: OrderProcess,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    slug: str,
) -> None:
    before = service.rows()
    assert_problem(post(api, headers, body, path), status, slug)
    assert service.rows() == before


def test_none_of_it_makes_an_event(service: OrderService, api: OrderProcess) -> None:
    since = service.ends()
    for _, headers, body, *_ in BAD:
        post(api, headers, body)
    after_them = api.client.post("/orders", content=order(), headers=JSON).json()["orderId"]
    for topic in TOPICS:
        arrived = eventually(partial(service.keys, topic, since), within_s=20)
        assert arrived == {after_them: 1}, "events keep the order of commits"


def test_an_endless_body_is_refused_after_64_kib_and_none_of_it_all_costs_20_mb(
    service: OrderService, api: OrderProcess
) -> None:
    for _ in range(50):
        api.client.post("/orders", content=order(), headers=JSON)
    process, before = psutil.Process(api.popen.pid), service.rows()
    started_at, peak = process.memory_info().rss, 0
    for _ in range(10):
        for _, headers, body, *_ in BAD:
            post(api, headers, body)
            peak = max(peak, process.memory_info().rss)
        sent, answer, rss = send_chunked(api, process)
        assert b" 413 " in answer.partition(b"\r\n")[0]
        assert b"application/problem+json" in answer
        assert b"/problems/body-too-large" in answer
        assert sent < CHUNKED_BYTES // 4, "the connection is closed, not drained"
        peak = max(peak, rss)
    assert peak - started_at < RSS_GROWTH_BYTES_MAX
    assert service.rows() == before


def send_chunked(api: OrderProcess, process: psutil.Process) -> tuple[int, bytes, int]:
    """
    Offer 100 MB in chunks until the server has enough of it: bytes sent, its answer, its greatest
    RSS.
    """
    address = urlsplit(api.url)
    head = (
        b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = rss = 0
    answer = b""
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(head)
        try:
            while sent < CHUNKED_BYTES:
                connection.sendall(chunk)
                sent += len(chunk)
                rss = max(rss, process.memory_info().rss)
        except (BrokenPipeError, ConnectionResetError):
            pass
        while select.select([connection], [], [], 20)[0]:
            try:
                piece = connection.recv(65_536)
            except ConnectionResetError:
                break
            if not piece:
                break
            answer += piece
    return sent, answer, rss


def test_a_body_that_says_it_is_too_long_is_refused_unread(api: OrderProcess) -> None:
    address = urlsplit(api.url)
    head = (
        b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 104857600\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(head)
        assert b" 413 " in connection.recv(65_536).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("POST", "/orders/", 404, "not-found"),
        ("PUT", "/orders", 405, "method-not-allowed"),
        ("GET", "/orders?limit=0", 422, "invalid-request"),
        ("DELETE", "/api/orders", 405, "method-not-allowed"),
        ("POST", "/products", 405, "method-not-allowed"),
        ("DELETE", "/orders/0198a0b2-1111-7222-8333-444455556666", 405, "method-not-allowed"),
        ("GET", "/orders/0198a0b2-1111-7222-8333-444455556666", 404, "order-not-found"),
        ("GET", "/orders/0198a0b2-1111-7222-8333-444455556666/history", 404, "order-not-found"),
        ("GET", "/orders/not-a-uuid", 404, "order-not-found"),
        ("GET", "/orders/%00", 404, "order-not-found"),
        (
            "GET",
            "/orders/0198a0b2-1111-7222-8333-444455556666/history?all=maybe",
            422,
            "invalid-request",
        ),
        ("GET", "/docs/assets/../../../../etc/passwd", 404, "not-found"),
        ("GET", "/docs/assets/no-such-file.js", 404, "not-found"),
    ],
)
def test_an_unknown_path_method_or_id_is_a_problem_document(
    api: OrderProcess, method: str, path: str, status: int, slug: str
) -> None:
    answer = api.client.request(method, path)
    assert_problem(answer, status, slug)
    assert status != 405 or answer.headers["allow"]


def test_a_good_order_is_taken_after_all_that(api: OrderProcess) -> None:
    placed = api.client.post(
        "/orders", content=order(), headers={"content-type": "Application/JSON; charset=utf-8"}
    )
    assert placed.status_code == 201
    assert api.client.get(placed.headers["location"]).json()["amountMinor"] == 3490
