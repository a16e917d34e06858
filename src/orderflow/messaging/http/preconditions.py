"""
What a command expects of the thing that it changes: RFC 9110, 13.1, for things with a version.

A thing's ETag is its version in quotes. Weak tags, lists and `If-Match: *` are refused, not
ignored: a precondition that is not checked is none.
"""

from __future__ import annotations

import re

from starlette.requests import Request

from orderflow.messaging.http import problems


def etag(version: int) -> str:
    """The ETag of a thing with this version."""
    return f'"{version}"'


def expected_version(request: Request) -> int | None:
    """The version in `If-Match`; None if it was not sent. Raises a problem (422)."""
    if_match = request.headers.get("if-match")
    if if_match is None:
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise problems.invalid(f'If-Match is the ETag that was read, as "3", not {if_match!r}')
    return int(match[1])


def only_new(request: Request) -> bool:
    """Whether `If-None-Match: *` was sent: the thing must not exist. Raises a problem (422)."""
    if_none_match = request.headers.get("if-none-match")
    if if_none_match not in (None, "*"):
        raise problems.invalid(
            f"If-None-Match is *, for what must not exist yet, not {if_none_match!r}"
        )
    return if_none_match is not None


_ETAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')
