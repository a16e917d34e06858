"""The OpenAPI document: valid, and of exactly the routes that there are."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Route
from tests.support.documented import assert_examples_fit

from orderflow.messaging.postgres import ConnectionPool
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http.api import OrderApi
from orderflow.services.order.http.commands import CommandRoutes
from orderflow.services.order.http.list_orders import ListOrders
from orderflow.services.order.http.openapi import document
from orderflow.services.order.http.operators import OperatorRoutes
from orderflow.services.order.http.post_order import Committer, PostOrder
from orderflow.services.order.http.products import ProductRoutes
from orderflow.services.order.http.readiness import StartGate

SETTINGS = OrderSettings.model_validate({"database": {"dsn": "postgresql://nowhere/order"}})


def routes() -> set[tuple[str, str]]:
    no_pool, gate = cast("ConnectionPool", None), StartGate()
    api = OrderApi(
        post_order=PostOrder(SETTINGS, gate=gate, committer=cast("Committer", None)),
        routes=[
            *ListOrders(no_pool, SETTINGS.deadlines.limits).routes(),
            *CommandRoutes(no_pool, settings=SETTINGS, gate=gate).routes(),
            *OperatorRoutes(no_pool, settings=SETTINGS, gate=gate).routes(),
            *ProductRoutes(no_pool, body_bytes_max=SETTINGS.api.body_bytes_max).routes(),
        ],
        pool=no_pool,
        reasons=list,
    )
    rest = cast("Starlette", api._rest)
    return {
        (_unnamed(route.path), method.lower())
        for route in rest.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }


def _unnamed(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def test_the_document_is_valid() -> None:
    served: Any = msgspec.json.decode(msgspec.json.encode(document()))
    OpenAPIV31SpecValidator(served).validate()


def test_every_body_has_an_example_and_it_is_as_described() -> None:
    assert_examples_fit(msgspec.json.decode(msgspec.json.encode(document())))


def test_every_route_is_in_the_document_and_every_path_of_it_is_a_route() -> None:
    documented = {
        (_unnamed(path), method) for path, item in document()["paths"].items() for method in item
    }
    assert documented == routes()


def test_a_request_with_a_field_too_many_is_not_valid_by_the_document_either() -> None:
    for name in ("OrderRequest", "ShortOrderRequest", "LineRequest"):
        assert document()["components"]["schemas"][name]["additionalProperties"] is False
