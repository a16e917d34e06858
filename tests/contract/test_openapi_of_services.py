"""
The OpenAPI document of each service: valid, of exactly the routes that there are, with examples
that fit.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast
from unittest.mock import Mock

import httpx2
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Route
from tests.support.documented import assert_examples_fit

from orderflow.contracts.roster import ROSTER, row
from orderflow.messaging.postgres import ConnectionPool
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.streams.directory import Directory
from orderflow.messaging.streams.interactive_queries import Queries
from orderflow.messaging.streams.local_state import LocalState
from orderflow.messaging.testing.registry import InMemoryRegistry

# The order service's API has more collaborators, and a test of its own: test_openapi.py.
SERVICES = pytest.mark.parametrize(
    "service", [member.name for member in ROSTER if find_spec(f"{member.package}.api")]
)


def application(service: str) -> Starlette:
    api = import_module(f"{row(service).package}.api")
    return cast("Starlette", api.build_api(*_parts(service), list))


def _parts(service: str) -> tuple[Any, ...]:
    """What an API reads: its database, the tables of its topology, or what it is asked about."""
    if row(service).has_database:
        return (cast("ConnectionPool", None),)
    if not row(service).listens or row(service).writes_files:
        return (cast("Any", Mock()),)

    topology = import_module(f"{row(service).package}.topology").TOPOLOGY
    directory = cast("Directory", None)
    queries = Queries(topology, local=LocalState(), directory=directory, instance="")
    return queries, Decoder(InMemoryRegistry())


def routes(service: str) -> Iterator[Route]:
    """Those of the service: behind them stand others, that tell which methods there are."""
    return (
        route for route in application(service).routes if isinstance(route, Route) and route.methods
    )


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


@SERVICES
def test_a_path_with_a_slash_too_many_is_not_found_and_not_redirected(service: str) -> None:
    """A redirect would lead to the host of the `Host` header, which anybody can choose."""
    api = application(service)
    paths = [route.path for route in routes(service) if route.path != "/"]

    async def answers() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=api)
        async with httpx2.AsyncClient(transport=transport, base_url="http://foreign") as client:
            return [await client.get(f"{re.sub(r'{.+}', 'x', path)}/") for path in paths]

    for answer in asyncio.run(answers()):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
