"""The ids that an audit goes through: by pages, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from orderflow.books.sides.side import IDS_MAX

RECENT_MAX = 200_000
"""Ids of one run that are remembered, so that few are compared twice."""


def paged(pages: Callable[[str, int], Sequence[str]], first: str = "") -> Iterator[str]:
    """All ids of a side after `first`, page by page."""
    after = first
    while page := pages(after, IDS_MAX):
        yield from page
        after = page[-1]


def batches(ids: Iterable[str]) -> Iterator[list[str]]:
    """Batches of ids without what came in one of the last batches."""
    batch: dict[str, None] = {}
    recent: set[str] = set()
    for order_id in ids:
        if order_id in recent:
            continue
        batch[order_id] = None
        if len(batch) >= IDS_MAX:
            yield [*batch]
            recent = (recent if len(recent) < RECENT_MAX else set()) | batch.keys()
            batch = {}
    if batch:
        yield [*batch]
