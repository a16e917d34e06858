"""
What every route of an API keeps to, so that none of them has to remember it.

A query parameter that the OpenAPI document does not name is refused: a misspelt filter must not be
a list of everything, a misspelt condition of a command must not be none. Each path answers OPTIONS
with its methods, and 405 with the same ones to all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orderflow.messaging.http.parameters import refuse_unknown

Document = Callable[[], Mapping[str, Any]]


def strict(routes: Iterable[BaseRoute], document: Document) -> list[BaseRoute]:
    """
    The `routes`, each of which refuses (422) a query parameter that its operation in `document`
    does not name, or that is given twice though it is no list.
    """
    described = cache(lambda: _parameters(document()))
    kept = [*routes]
    for route in kept:
        if isinstance(route, Route):
            route.app = _Strict(route.app, path=_unnamed(route.path), described=described)
    return kept


def with_other_methods(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """The `routes`, and for each of their paths one more, that tells its methods to all others."""
    kept = [*routes]
    methods: dict[str, set[str]] = {}
    for route in kept:
        if isinstance(route, Route):
            methods.setdefault(route.path, {"OPTIONS"}).update(route.methods or ())
    return [*kept, *(Route(path, _Others(allowed)) for path, allowed in methods.items())]


Described = Mapping[tuple[str, str], Mapping[str, bool]]
"""By path and method: the names of query parameters, and whether they may be repeated."""


class _Strict:
    def __init__(self, app: ASGIApp, *, path: str, described: Callable[[], Described]) -> None:
        self._app = app
        self._path = path
        self._described = described

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"]:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            known = self._described().get((self._path, method), {})
            repeatable = [name for name, is_list in known.items() if is_list]
            refuse_unknown(QueryParams(scope["query_string"]), [*known], repeatable=repeatable)
        await self._app(scope, receive, send)


class _Others:
    """An ASGI application, since a function would be a route of GET alone."""

    def __init__(self, methods: Iterable[str]) -> None:
        self._allow = {"allow": ", ".join(sorted(methods))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "OPTIONS":
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers=self._allow)
        await Response(status_code=HTTPStatus.NO_CONTENT, headers=self._allow)(scope, receive, send)


def _parameters(document: Mapping[str, Any]) -> Described:
    return {
        (_unnamed(path), method.upper()): _query(operation.get("parameters", ()))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _query(parameters: Sequence[Mapping[str, Any]]) -> Mapping[str, bool]:
    return {
        parameter["name"]: parameter["schema"].get("type") == "array"
        for parameter in parameters
        if parameter["in"] == "query"
    }


def _unnamed(path: str) -> str:
    """The path without the names of its parameters: code and document may call them differently."""
    return re.sub(r"{\w+}", "{}", path)
