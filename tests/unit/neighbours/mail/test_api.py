"""The mail sink over HTTP: documented as the services' APIs are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from tests.support.documented import assert_documented, assert_examples_fit

from orderflow.neighbours.mail.api import build_api
from orderflow.neighbours.mail.faults import Faults
from orderflow.neighbours.mail.mailbox import Mail, Mailbox
from orderflow.neighbours.mail.smtp_server import Receiver

MAIL = (
    b"From: Orderflow <orders@orderflow.localhost>\r\nSubject: Hello\r\n"
    b"Message-ID: <a@orderflow.localhost>\r\nX-Orderflow-Order-Id: order\r\n"
    b"X-Orderflow-Customer-Id: anna\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n"
)


class Sink:
    """As much of a receiver as the API uses."""

    faults = Faults()


@pytest.fixture
def api(tmp_path: Path) -> Starlette:
    mailbox = Mailbox(tmp_path)
    mailbox.take([Mail("orders@orderflow.localhost", ("anna@customers.localhost",), MAIL)])
    return build_api(mailbox, cast("Receiver", Sink()))


def answers(api: Starlette, *requests: tuple[str, str, str]) -> list[httpx2.Response]:
    """Of requests with method, path and body."""

    async def ask() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=api)
        json = {"content-type": "application/json"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://sink") as client:
            return [
                await client.request(method, path, content=body, headers=json)
                for method, path, body in requests
            ]

    return asyncio.run(ask())


def test_the_document_is_valid_and_its_examples_fit(api: Starlette) -> None:
    [served] = answers(api, ("GET", "/openapi.json", ""))
    OpenAPIV31SpecValidator(cast("Any", served.json())).validate()
    assert_examples_fit(served.json())


def test_every_answer_is_as_documented(api: Starlette) -> None:
    [served] = answers(api, ("GET", "/openapi.json", ""))
    asked = [
        ("GET", "/messages", "", 200),
        ("GET", "/messages?cursor=x", "", 422),
        ("GET", "/totals", "", 200),
        ("GET", "/faults", "", 200),
        ("PUT", "/faults", '{"permanentFor": ["a@b"]}', 200),
        ("PUT", "/faults", '{"permanentFor": "a@b"}', 422),
        ("PUT", "/faults", "{", 400),
    ]
    given = answers(api, *((method, path, body) for method, path, body, _ in asked))
    for (_, path, _, status), answer in zip(asked, given, strict=True):
        assert answer.status_code == status, answer.text
        assert_documented(served.json(), path.partition("?")[0], answer)


def test_a_field_that_is_wrong_says_what_it_must_be(api: Starlette) -> None:
    [refused] = answers(api, ("PUT", "/faults", '{"permanentFor": "a@b", "latencyS": -1}'))
    assert refused.json()["errors"] == [
        {"pointer": "#/permanentFor", "detail": "must be a list"},
        {"pointer": "#/latencyS", "detail": "must be a number from 0 to 600"},
    ]
