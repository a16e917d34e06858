"""Which ids an audit goes through, and how often."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from heapq import merge

from orderflow.books.ids import RECENT_MAX, batches, paged
from orderflow.books.sides.side import IDS_MAX


def side(ids: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    def pages(after: str, limit: int) -> Sequence[str]:
        start = bisect_right(ids, after)
        return ids[start : start + limit]

    return pages


def test_an_order_that_six_sides_have_is_gone_through_once_however_many_there_are() -> None:
    orders = [f"{number:07}" for number in range(RECENT_MAX + 3 * IDS_MAX)]
    lacking = [order for order in orders if not order.endswith("7")]
    alone = [f"{number:07}x" for number in range(5)]
    sides = [orders, lacking, orders, lacking, orders, [*alone], []]

    gone_through = Counter[str]()
    for ids in batches(merge(*(paged(side(sorted(each))) for each in sides))):
        assert len(ids) <= IDS_MAX
        gone_through.update(ids)
    assert gone_through == Counter([*orders, *alone])


def test_a_side_that_is_not_in_order_loses_nothing() -> None:
    gone_through = batches(merge(iter(["b", "a", "c"]), iter(["a", "b", "c"])))
    assert {order for ids in gone_through for order in ids} == {"a", "b", "c"}
