"""OpenAPI documents from the types that parse requests and make answers. Source: OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

import orderflow
from orderflow.messaging.documents.completed import (
    completed_paths,
    completed_schema,
    tags,
    with_moments,
    with_wire_names,
)
from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.messaging.http.parameters import IDENTIFIER
from orderflow.messaging.http.validation import FieldError

Schema = dict[str, Any]


class ProblemDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    RFC 9457. `type` is stable: `/problems/<slug>`. `errors`: all that is wrong with a body, field
    by field; only a body that is not valid has them. `instance`: `/traces/<id>`, the request's
    trace, if it has one.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()


class Schemas:
    """
    The schemas of some types, `ProblemDocument` among them, and bodies made of them.

    `uuids`: properties, by their names on the wire, whose texts are UUIDs in every one of them.
    """

    def __init__(self, *types: Any, uuids: Collection[str] = ()) -> None:
        wanted = (ProblemDocument, *types)
        references, components = msgspec.json.schema_components(
            wanted, ref_template="#/components/schemas/{name}"
        )
        described = with_wire_names(completed_schema(components, uuids=uuids))
        self.components: Schema = with_moments(described, wanted)
        self._of: dict[Any, Schema] = dict(zip(wanted, references, strict=True))

    def of(self, wanted: Any) -> Schema:
        return self._of[wanted]

    def answer(self, description: str, wanted: Any, *, example: Any = None) -> Schema:
        """A response with a JSON body."""
        return {
            "description": description,
            "content": {"application/json": self._body(wanted, example)},
        }

    def request(self, wanted: Any, *, example: Any, required: bool = True) -> Schema:
        """A request's JSON body."""
        return {"required": required, "content": {"application/json": self._body(wanted, example)}}

    def problem(self, description: str, wanted: Any = ProblemDocument) -> Schema:
        """A response with a problem document."""
        return {
            "description": description,
            "content": {"application/problem+json": {"schema": self._of[wanted]}},
        }

    def problems(self, described: Mapping[str, str]) -> Schema:
        """Responses with plain problem documents, by their status."""
        return {status: self.problem(why) for status, why in described.items()}

    def _body(self, wanted: Any, example: Any) -> Schema:
        return {"schema": self._of[wanted]} | ({} if example is None else {"example": example})


def document(
    title: str, description: str, *, paths: Mapping[str, Schema], schemas: Schemas
) -> Schema:
    """The whole document: `paths`, the routes that every process has, and what all have alike."""
    problem = schemas.of(ProblemDocument)
    complete = completed_paths(
        {**_strict(paths, schemas), **_EVERYWHERE, **_problem_pages(schemas)}, problem=problem
    )

    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "description": description,
            "version": orderflow.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The process that serves this document"}],
        "security": [],
        "tags": tags(complete),
        "paths": completed_schema(complete),
        "components": {"schemas": schemas.components},
    }


def _problem_pages(schemas: Schemas) -> dict[str, Schema]:
    page = {"description": "For people", "content": {"text/html": {}}}
    return {
        "/problems": {"get": operation("All types of problem documents", {"200": page})},
        "/problems/{slug}": {
            "get": operation(
                "What a type of problem documents means, and what to do",
                {"200": page, "404": schemas.problem("There is no such type")},
                parameters=[path_parameter("slug", {"type": "string"})],
            )
        },
    }


def _strict(paths: Mapping[str, Schema], schemas: Schemas) -> dict[str, Schema]:
    """Every operation refuses a parameter that it does not name."""
    refused = schemas.problem("A parameter is unknown, or given twice; the detail names it")
    return {
        path: {
            method: {**described, "responses": {"422": refused, **described["responses"]}}
            for method, described in operations.items()
        }
        for path, operations in paths.items()
    }


def operation(
    summary: str, responses: Mapping[str, Schema], *, parameters: Sequence[Schema] = ()
) -> Schema:
    return {"summary": summary, "parameters": [*parameters], "responses": {**responses}}


def path_parameter(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def query_parameter(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def header_parameter(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "schema": schema, "description": description}


IDENTIFIER_SCHEMA: Schema = {"type": "string", "pattern": f"^{IDENTIFIER}$", "maxLength": 64}
"""An id from outside, such as a customer's or a SKU."""

UUID_SCHEMA: Schema = {"type": "string", "format": "uuid"}

ACTOR: Schema = header_parameter(
    ACTOR_HEADER,
    IDENTIFIER_SCHEMA,
    "Who gives the command, for the record; anonymous, if it is not sent",
)
"""The parameter of every command that records its actor."""


def _plain(summary: str, media_type: str) -> Schema:
    return {
        "get": operation(summary, {"200": {"description": summary, "content": {media_type: {}}}})
    }


_READINESS = {
    "type": "object",
    "required": ["ready", "reasons", "degraded", "age_s"],
    "properties": {
        "ready": {"type": "boolean"},
        "reasons": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why it is not ready",
        },
        "degraded": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What it waits for, while whoever calls it is served",
        },
        "age_s": {"type": "number", "description": "How long ago this was found out, in seconds"},
    },
}
_READY = {"application/json": {"schema": _READINESS}}
_EVERYWHERE: Mapping[str, Schema] = {
    "/": {
        "get": operation(
            "Leads to this document",
            {
                "307": {
                    "description": "This document, for people",
                    "headers": {"Location": {"schema": {"type": "string"}}},
                }
            },
        )
    },
    "/livez": _plain("The process runs", "text/plain"),
    "/readyz": {
        "get": operation(
            "Whether the process is ready, and if not, why",
            {
                "200": {"description": "Ready", "content": _READY},
                "503": {"description": "Not ready", "content": _READY},
            },
        )
    },
    "/metrics": _plain("Prometheus metrics", "text/plain"),
    "/openapi.json": _plain("This document", "application/json"),
    "/docs": _plain("This document, for people", "text/html"),
}
