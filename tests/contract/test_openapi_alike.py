"""What the OpenAPI documents of all services have alike, so that clients can be made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec
import pytest

from orderflow.contracts.roster import ROSTER
from orderflow.messaging.documents.completed import (
    completed_schema,
    operation_id,
    operations,
)
from orderflow.messaging.http.validation import END
from orderflow.neighbours.psp.tokens import ChargeStatus, fate_of
from orderflow.services.order.http.openapi import DESCRIPTION
from orderflow.services.order.http.requests import OrderRequest, PayRequest, ShortOrderRequest

MODULES = [
    name
    for member in ROSTER
    for name in (f"{member.package}.openapi", f"{member.package}.http.openapi")
    if find_spec(name.rpartition(".")[0]) and find_spec(name)
] + ["orderflow.neighbours.mail.openapi"]
OPERATION_ID = re.compile(r"[a-z][A-Za-z]+")
OURS = ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/")


def served(module: str) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(import_module(module).document())
    )
    return document


def schemas_in(described: Any) -> Iterator[dict[str, Any]]:
    if isinstance(described, dict):
        yield described
        for name, inner in described.items():
            if name not in ("example", "examples", "default"):
                yield from schemas_in(inner)
    elif isinstance(described, list):
        for inner in described:
            yield from schemas_in(inner)


def test_every_service_with_an_api_is_asked() -> None:
    assert len(MODULES) >= 9


@pytest.mark.parametrize("module", MODULES)
def test_a_document_says_who_it_is_and_names_every_operation_once(module: str) -> None:
    document = served(module)
    names = [described["operationId"] for *_, described in operations(document["paths"])]
    assert len(names) == len(set(names))
    assert [name for name in names if not OPERATION_ID.fullmatch(name)] == []
    assert document["info"]["description"]
    assert document["servers"] == [
        {"url": "/", "description": "The process that serves this document"}
    ]
    tags = {tag["name"] for tag in document["tags"]}
    used = {tag for *_, described in operations(document["paths"]) for tag in described["tags"]}
    assert tags == used


@pytest.mark.parametrize("module", MODULES)
def test_every_operation_has_the_answers_that_all_have(module: str) -> None:
    for path, method, described in operations(served(module)["paths"]):
        responses = described["responses"]
        assert {"405", "500"} <= set(responses), (method, path)
        assert "Allow" in responses["405"]["headers"]
        if path not in OURS and "503" in responses:
            assert "Retry-After" in responses["503"]["headers"], (method, path)


@pytest.mark.parametrize("module", MODULES)
def test_enumerations_have_a_type_and_patterns_compile_without_look_ahead(module: str) -> None:
    for schema in schemas_in(served(module)):
        if "enum" in schema and isinstance(schema["enum"], list):
            assert schema["type"] in ("string", "integer", "boolean")
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            assert "(?" not in pattern.replace("(?:", "")
            re.compile(pattern)


@pytest.mark.parametrize(
    ("method", "path", "lists", "name"),
    [
        ("get", "/orders", True, "listOrders"),
        ("get", "/orders/{orderId}", False, "getOrder"),
        ("get", "/orders/{orderId}/history", False, "getOrderHistory"),
        ("post", "/orders/{orderId}/pay", False, "payOrder"),
        ("post", "/api/orders/{orderId}/pay", False, "payOrderApi"),
        ("post", "/dead-letters/replay", False, "replayDeadLetters"),
        ("get", "/openapi.json", False, "getOpenapiJson"),
    ],
)
def test_a_function_is_named_by_what_it_does(
    method: str, path: str, *, lists: bool, name: str
) -> None:
    assert operation_id(method, path, lists=lists) == name


def test_examples_are_data_and_stay_as_they_are() -> None:
    described = {"example": {"pattern": END, "enum": ["a"]}, "enum": ["a"], "pattern": f"^a{END}"}
    assert completed_schema(described) == {
        "example": {"pattern": END, "enum": ["a"]},
        "enum": ["a"],
        "type": "string",
        "pattern": "^a$",
    }


def test_ids_are_uuids_and_moments_have_a_format_in_the_order_s_view() -> None:
    order = served("orderflow.services.order.http.openapi")["components"]["schemas"]
    view = order["OrderView"]["properties"]
    assert view["orderId"]["format"] == "uuid"
    assert view["createdAt"]["format"] == "date-time"
    assert [
        option.get("format") for option in order["Payment"]["properties"]["paymentId"]["anyOf"]
    ] == [
        "uuid",
        None,
    ]
    assert {"reason", "message"} <= set(order["Payment"]["properties"])


@pytest.mark.parametrize("request_type", [OrderRequest, ShortOrderRequest, PayRequest])
def test_a_body_of_the_fields_own_examples_is_taken(request_type: type[msgspec.Struct]) -> None:
    schemas = served("orderflow.services.order.http.openapi")["components"]["schemas"]
    body = example_of(schemas, schemas[request_type.__name__])
    request = msgspec.convert(body, request_type)
    if isinstance(request, OrderRequest):
        [line] = request.lines
        assert (line.sku, request.customer_id, request.payment_method) == (
            "KEYBOARD-01",
            "customer-123",
            "pm_ok",
        )


def example_of(schemas: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A value made of the examples of fields, as a documentation page shows it."""
    if "$ref" in schema:
        return example_of(schemas, schemas[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return example_of(schemas, schema["anyOf"][0])
    if "examples" in schema:
        return schema["examples"][0]
    if schema["type"] == "object":
        return {
            name: example_of(schemas, inner)
            for name, inner in schema["properties"].items()
            if name in schema.get("required", ()) or name == "paymentMethod"
        }
    if schema["type"] == "array":
        return [example_of(schemas, schema["items"])]
    raise AssertionError(f"a required field without an example: {schema}")


def test_the_table_of_payment_methods_is_what_the_simulated_provider_does() -> None:
    rows = re.findall(r"^\| `(pm_\w+)`.*? \| (.*?) \|$", DESCRIPTION, re.MULTILINE)
    assert len(rows) == 9
    for token, words in rows:
        fate = fate_of(token)
        ends_as = fate.settles_as or fate.status
        assert ("captured" in words) == (ends_as is ChargeStatus.CAPTURED), token
        assert ("declined" in words) == (ends_as is ChargeStatus.DECLINED), token
        assert ("pending" in words) == (fate.status is ChargeStatus.PENDING), token
