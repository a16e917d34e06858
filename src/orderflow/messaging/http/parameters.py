"""Query parameters as typed values, refused with a problem document that names them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.datastructures import QueryParams

from orderflow.messaging.http import problems


def query_value(query: QueryParams, name: str, wanted: Any, *, default: Any = None) -> Any:
    """
    The parameter `name` as `wanted`, a type that msgspec knows (with its bounds); `default` if it was not sent.

    Raises a problem (422) that says what is wrong with it.
    """
    value = query.get(name)
    try:
        return default if value is None else msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise problems.invalid(f"{name}: {error}") from error
