"""
Every API under a client that is made of its document: no 500, no answer that is not documented,
and no hang.

The long run, 20,000 requests and more:
`pytest -m long tests/integration/tools/test_random_clients.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from tests.support.random_client import RandomClient
from tests.support.whole_stack import WholeStack, whole_stack

from orderflow.contracts.roster import ROSTER
from orderflow.stack.ports import HOST

SHORT, LONG = 8, 500
"""Requests to each operation."""

SERVICES = [*(member.name for member in ROSTER if member.name != "lake"), "mail"]


@pytest.fixture(scope="module")
def stack() -> Iterator[WholeStack]:
    with whole_stack() as running:
        yield running


@pytest.fixture(scope="module")
def known(stack: WholeStack) -> dict[str, list[str]]:
    """Values of path parameters that there are: orders of all kinds, a product, a customer."""
    with stack.api("order") as client:
        line = {"sku": "MOUSE-01", "quantity": 1}
        orders = [
            client.post(
                "/orders",
                json={
                    "customerId": "anna",
                    "paymentMode": mode,
                    "paymentMethod": method,
                    "lines": [line],
                },
            ).json()["orderId"]
            for mode, method in (
                ("ON_REQUEST", "pm_ok"),
                ("AUTOMATIC", "pm_ok"),
                ("AUTOMATIC", "pm_declined"),
            )
        ]
    return {"orderId": orders, "sku": ["MOUSE-01"], "customer_id": ["anna"]}


def errors_of(client: RandomClient, *, times: int, same: bool = True) -> dict[str, str]:
    """What is wrong, by operation."""
    wrong: dict[str, str] = {}
    for operation in client.operations():
        try:
            client.ask(operation, times=times, same=same)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - each operation is judged
            wrong[operation.label] = str(error)
    return wrong


@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_documented(
    stack: WholeStack, known: dict[str, list[str]], service: str
) -> None:
    client = RandomClient(stack.addresses[f"{service.upper()}_API_URL"], known)
    assert errors_of(client, times=SHORT) == {}


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_every_answer_is_documented_at_length(
    stack: WholeStack, known: dict[str, list[str]]
) -> None:
    wrong: dict[str, str] = {}
    requests = 0
    for service in SERVICES:
        client = RandomClient(stack.addresses[f"{service.upper()}_API_URL"], known)
        wrong |= errors_of(client, times=LONG, same=False)
        requests += client.statuses.total()

    assert wrong == {}
    assert requests >= 20_000


class Wrong(BaseHTTPRequestHandler):
    """Documents 200 with a number, and answers each path in another way."""

    answers: ClassVar = {
        "/right": (200, b"1"),
        "/status": (202, b"1"),
        "/body": (200, b"[]"),
        "/500": (500, b"1"),
    }

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (200, self.document()))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def document(self) -> bytes:
        number = {"application/json": {"schema": {"type": "integer"}}}
        described = {"responses": {"200": {"description": "a number", "content": number}}}
        return json.dumps(
            {
                "openapi": "3.1.0",
                "info": {"title": "wrong", "version": "1"},
                "paths": {path: {"get": described} for path in self.answers},
            }
        ).encode()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""


def test_the_client_notices_what_is_wrong() -> None:
    with ThreadingHTTPServer((HOST, 0), Wrong) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        wrong = errors_of(RandomClient(f"http://{HOST}:{server.server_port}"), times=1)
        server.shutdown()
    assert set(wrong) == {"GET /status", "GET /body", "GET /500"}
