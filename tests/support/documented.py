"""Compare answers and examples with the OpenAPI document of their service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jsonschema

Document = dict[str, Any]


def assert_documented(document: Document, path: str, answer: httpx2.Response) -> None:
    """The answer's status, body and headers are as the document describes them for `path`."""
    operation = document["paths"][path][answer.request.method.lower()]
    described = operation["responses"][str(answer.status_code)]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type].get("schema")
    if schema is not None:
        _validate(document, schema, answer.json())
    for header in described.get("headers", {}):
        assert header in answer.headers


def holding_to(document: Document) -> Callable[[httpx2.Response], None]:
    """
    A client's hook: every answer must be documented, and a method that is not documented must be
    refused.
    """
    patterns = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path)) for path in document["paths"]}

    def hook(answer: httpx2.Response) -> None:
        answer.read()
        requested = answer.request.url.raw_path.decode().partition("?")[0]
        [path] = [path for path, pattern in patterns.items() if pattern.fullmatch(requested)]
        if answer.request.method.lower() in document["paths"][path]:
            assert_documented(document, path, answer)
        else:
            assert answer.status_code == (204 if answer.request.method == "OPTIONS" else 405)

    return hook


def assert_examples_fit(document: Document) -> None:
    """Every JSON body of the service's own types has an example that fits its schema."""
    bodies = list(_bodies(document["paths"]))
    assert bodies
    for body in bodies:
        _validate(document, body["schema"], body["example"])


def _bodies(described: Any) -> Iterator[dict[str, Any]]:
    """The JSON bodies of the service's own types, in requests and answers."""
    if isinstance(described, dict):
        body = described.get("application/json", {})
        if "$ref" in body.get("schema", {}):
            yield body
        for inner in described.values():
            yield from _bodies(inner)


def _validate(document: Document, schema: Document, value: Any) -> None:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=checker).validate(value)
