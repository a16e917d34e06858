"""Answers held against the OpenAPI document of the service that gave them."""

from __future__ import annotations

import re
from collections.abc import Callable
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
        components = {"components": document["components"]}
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator({**schema, **components}, format_checker=checker).validate(answer.json())
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
