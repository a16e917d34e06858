"""Answers and examples held against the OpenAPI document of the service that gave them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jsonschema

Document = dict[str, Any]


def assert_documented(document: Document, path: str, answer: httpx2.Response) -> None:
    """The answer's status, body and headers are what the document says of `path`."""
    operation = document["paths"][path][answer.request.method.lower()]
    described = operation["responses"][str(answer.status_code)]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type].get("schema")
    if schema is not None:
        _validate(document, schema, answer.json())
    for header in described.get("headers", {}):
        assert header in answer.headers


def holding_to(document: Document) -> Callable[[httpx2.Response], None]:
    """A client's hook by which every answer it gets must be documented; a method that is not must be refused."""
    patterns = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path)) for path in document["paths"]}

    def hook(answer: httpx2.Response) -> None:
        answer.read()
        asked = answer.request.url.raw_path.decode().partition("?")[0]
        [path] = [path for path, pattern in patterns.items() if pattern.fullmatch(asked)]
        if answer.request.method.lower() in document["paths"][path]:
            assert_documented(document, path, answer)
        else:
            assert answer.status_code == 405

    return hook


def assert_examples_fit(document: Document) -> None:
    """Every JSON body of a type of its own has an example, and that is as described."""
    found = list(_bodies(document["paths"]))
    assert found
    for body in found:
        _validate(document, body["schema"], body["example"])


def _bodies(described: Any) -> Iterator[dict[str, Any]]:
    """JSON bodies of this service's own types, of requests and of answers."""
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
