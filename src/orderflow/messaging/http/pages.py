"""Answers of a page at a time: a cursor names the last item of the page before it."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import TypeVar

from starlette.datastructures import QueryParams

from orderflow.messaging.http import problems

T = TypeVar("T")


def page(
    rows: Sequence[T], *, limit: int, cursor_of: Callable[[T], str]
) -> tuple[Sequence[T], str | None]:
    """
    The items of a page, and the cursor of the next one; None on the last page.

    `rows` were read with `limit + 1`: one more than is shown says that there is a next page.
    """
    items = rows[:limit]
    return items, cursor_of(items[-1]) if len(rows) > limit else None


def cursor_value(query: QueryParams, matches: Callable[[str], object], *, default: str = "") -> str:
    """
    The query parameter `cursor`; `default`, for the first page, if it is absent or empty.

    Raises a problem (422) if `matches` finds that no page ends like that.
    """
    cursor = query.get("cursor", "")
    if cursor and not matches(cursor):
        raise problems.invalid("cursor is the nextCursor of the page before")
    return cursor or default


def opaque(item: str) -> str:
    """A cursor that says nothing to a client: what it is made of may change."""
    return urlsafe_b64encode(item.encode()).rstrip(b"=").decode()


def opened(query: QueryParams, matches: Callable[[str], object]) -> str | None:
    """
    What `opaque` made the query parameter `cursor` of; None if it was not sent.

    Raises a problem (422) if it was made of nothing, or of what does not match.
    """
    cursor = query.get("cursor")
    if cursor is None:
        return None
    try:
        item = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        item = ""

    if not item or opaque(item) != cursor or not matches(item):
        raise problems.invalid("cursor is the nextCursor of the page before")
    return item
