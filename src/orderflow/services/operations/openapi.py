"""The OpenAPI document, from the same types that answer."""

from __future__ import annotations

from functools import cache

from orderflow.books.report import DIFFERENCES_MAX, Check
from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import Schema, Schemas, operation, query_parameter
from orderflow.services.operations import books_routes, examples
from orderflow.services.operations.books_routes import BooksView
from orderflow.services.operations.cluster import LIMIT_DEFAULT, LIMIT_MAX
from orderflow.services.operations.desk_openapi import DESK_TYPES, desk_paths
from orderflow.services.operations.orders import StuckPage
from orderflow.services.operations.views import GroupsPage, LagPage

TITLE = "Orderflow: operations API"
DESCRIPTION = (
    "For operators: lag and groups, dead letters, orders that are stuck, and the audit of the "
    "books."
)

AWAY = "The brokers do not answer, or too many ask already"
PAGE: list[Schema] = [
    query_parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "How many of them",
    ),
    query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before"),
]


@cache
def document() -> Schema:
    schemas = Schemas(LagPage, GroupsPage, StuckPage, BooksView, *DESK_TYPES)
    paths = {**desk_paths(schemas), **_cluster(schemas), "/books": {"get": _books(schemas)}}
    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)


def _books(schemas: Schemas) -> Schema:
    answers = {
        "200": schemas.answer("The last audit", BooksView, example=examples.BOOKS),
        **schemas.problems(
            {"422": "A parameter is not valid, or not known", "503": "No audit has ended yet"}
        ),
    }
    check = query_parameter("check", {"type": "string", "enum": [*Check]}, "This check alone")
    limit = query_parameter(
        "limit",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": DIFFERENCES_MAX,
            "default": books_routes.LIMIT_DEFAULT,
        },
        "How many of each list",
    )

    return operation("What the last audit of the books found", answers, parameters=[check, limit])


def _cluster(schemas: Schemas) -> Schema:
    group = query_parameter("group", {"type": "string"}, "This group alone")
    wrong = {"422": "A parameter is not valid, or not known"}

    return {
        "/lag": {
            "get": operation(
                "How far each group is behind, in records and in seconds",
                {
                    "200": schemas.answer("By group", LagPage, example=examples.LAG),
                    **schemas.problems({"404": "There is no such group", **wrong, "503": AWAY}),
                },
                parameters=[group, *PAGE],
            )
        },
        "/groups": {
            "get": operation(
                "Who is in which group, and how far that is behind",
                {
                    "200": schemas.answer("By group", GroupsPage, example=examples.GROUPS),
                    **schemas.problems({**wrong, "503": AWAY}),
                },
                parameters=PAGE,
            )
        },
        "/orders/stuck": {
            "get": operation(
                "Orders past the deadline of what they wait for, longest wait first",
                {
                    "200": schemas.answer("Orders", StuckPage, example=examples.STUCK),
                    **schemas.problems({**wrong, "503": "The order service can't be asked"}),
                },
                parameters=PAGE,
            )
        },
    }
