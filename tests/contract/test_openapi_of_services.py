"""The OpenAPI document of each service: valid, of exactly the routes that there are, with examples that fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route
from tests.support.documented import assert_examples_fit

from orderflow.messaging.postgres import ConnectionPool
from orderflow.services.analytics import api as analytics
from orderflow.services.fulfilment import api as fulfilment
from orderflow.services.inventory import api as inventory
from orderflow.services.notification import api as notification
from orderflow.services.payment import api as payment

NO_POOL = cast("ConnectionPool", None)
APPLICATIONS: dict[str, Callable[[], Any]] = {
    "payment": lambda: payment.build_api(NO_POOL, list),
    "inventory": lambda: inventory.build_api(NO_POOL, list, body_bytes_max=65_536),
    "notification": lambda: notification.build_api(NO_POOL, list),
    "fulfilment": lambda: fulfilment.build_api(NO_POOL, list),
    "analytics": lambda: analytics.build_api(NO_POOL, list),
}
SERVICES = pytest.mark.parametrize("service", APPLICATIONS)


def routes(service: str) -> Iterator[Route]:
    return (route for route in APPLICATIONS[service]().routes if isinstance(route, Route))


def document(service: str) -> dict[str, Any]:
    """As it is served."""
    [route] = [route for route in routes(service) if route.path == "/openapi.json"]
    served: dict[str, Any] = msgspec.json.decode(route.endpoint(None).body)
    return served


def unnamed(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


@SERVICES
def test_the_document_is_valid(service: str) -> None:
    OpenAPIV31SpecValidator(cast("Any", document(service))).validate()


@SERVICES
def test_every_route_is_in_the_document_and_every_path_of_it_is_a_route(service: str) -> None:
    documented = {
        (unnamed(path), method)
        for path, item in document(service)["paths"].items()
        for method in item
    }
    assert documented == {
        (unnamed(route.path), method.lower())
        for route in routes(service)
        for method in route.methods or ()
        if method != "HEAD"
    }


@SERVICES
def test_every_body_has_an_example_and_it_is_as_described(service: str) -> None:
    assert_examples_fit(document(service))
