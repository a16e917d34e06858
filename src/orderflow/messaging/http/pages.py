"""
Answers of a page at a time: a cursor names the last item of the page before it.

Every list has its `Cursors`. A cursor that is not of this list, or that lost a part on its way, is
refused: taken for a place behind the last item it would end a list that has not ended.
"""

from __future__ import annotations

import binascii
import struct
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


class Cursors:
    """
    The cursors of one list, which say nothing to a client: what they are made of may change.

    `name`: the list's, of its own. `matches`: whether a page can end with such an item.
    """

    def __init__(self, name: str, matches: Callable[[str], object]) -> None:
        self._name = name.encode()
        self._matches = matches

    def of(self, item: str) -> str:
        """The cursor of the page after `item`."""
        content = item.encode()
        return urlsafe_b64encode(self._sum(content) + content).rstrip(b"=").decode()

    def read(self, query: QueryParams) -> str | None:
        """
        What the query parameter `cursor` was made of; None, for the first page, if it is absent or
        empty.

        Raises a problem (422) if it is none of this list's.
        """
        cursor = query.get("cursor", "")
        if not cursor:
            return None
        try:
            content = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            item = content[_SUM.size :].decode()
        except (binascii.Error, ValueError):
            item = ""

        if not item or self.of(item) != cursor or not self._matches(item):
            raise problems.invalid("cursor is the nextCursor of the page before, of this same list")
        return item

    def _sum(self, content: bytes) -> bytes:
        return _SUM.pack(binascii.crc32(content, binascii.crc32(self._name)))


_SUM = struct.Struct(">I")
"""A check sum: against accidents, not against anybody who means to make a cursor."""
