"""
What the counts mean. Imports no driver.

An order leaves a status by the next version of its events; its last status is where the order is
now. While the version between two is missing, the earlier status counts as entered and not as left,
because nobody knows yet what followed it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.contracts.ids import OrderId

SHARE_DIGITS = 4
BUCKET_GROWTH = 1.05
"""
Bucket n of stays begins at so much to the power of n milliseconds, less one; the repository's
statement sorts them in.
"""
SECONDS_DIGITS = 3


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders entered `status` and left it for `to`; None: have not left it."""

    status: OrderStatus
    to: OrderStatus | None
    orders: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many orders went from `status` to `to`.

    `share`: of all orders that ever entered `status`.
    """

    status: OrderStatus
    to: OrderStatus
    orders: int
    share: float


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """
    Median and 95th percentile of the seconds that orders spent in a status they have left, within a
    fortieth: orders are counted in buckets.
    """

    status: OrderStatus
    orders: int
    p50_s: float
    p95_s: float


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders entered `status` within the hour that begins at `hour`, UTC."""

    hour: datetime
    status: OrderStatus
    count: int


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """All counts, as of one snapshot of the database."""

    current: dict[OrderStatus, int]
    passages: tuple[Passage, ...]
    stays: tuple[Stay, ...]
    hours: tuple[Hour, ...]
    last_event_at: datetime | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a batch adds to the funnel, in rows.

    `moves`: from which status (None: from nowhere) to which, and how many orders. `entries`: a
    status, an hour, how many orders entered it then, and when the last did. `stays`: a status, what
    it was left for, the bucket of the time between, and how many orders.
    """

    moves: Sequence[tuple[str | None, str, int]]
    entries: Sequence[tuple[str, datetime, int, datetime]]
    stays: Sequence[tuple[str, str, int, int]]

    def by_status(self) -> list[tuple[str, int, int]]:
        """How many orders entered each status, and how many more are there now; by status."""
        entered, current = Counter[str](), Counter[str]()
        for status, _hour, orders, _last_at in self.entries:
            entered[status] += orders

        for before, after, orders in self.moves:
            current[after] += orders
            if before is not None:
                current[before] -= orders
        return [
            (status, entered[status], current[status]) for status in sorted({*entered, *current})
        ]


def stay_of(status: OrderStatus, buckets: Mapping[int, int]) -> Stay:
    """The percentiles of a status, from how many orders are in which bucket."""
    orders = sum(buckets.values())
    p50_s, p95_s = (_nth_s(buckets, math.ceil(share * orders)) for share in (0.5, 0.95))
    return Stay(status=status, orders=orders, p50_s=p50_s, p95_s=p95_s)


def _nth_s(buckets: Mapping[int, int], place: int) -> float:
    """The stay at that place, the shortest first: the middle of its bucket."""
    for bucket, orders in sorted(buckets.items()):
        place -= orders
        if place <= 0:
            middle_ms: float = BUCKET_GROWTH ** (bucket + 0.5) - 1
            return round(middle_ms / 1000, SECONDS_DIGITS)
    return 0.0


def newest(events: Iterable[OrderEvent]) -> list[OrderEvent]:
    """The event with the highest version of each order, by order id."""
    latest: dict[OrderId, OrderEvent] = {}
    for event in events:
        known = latest.get(event.order_id)
        if known is None or known.version < event.version:
            latest[event.order_id] = event
    return [latest[order_id] for order_id in sorted(latest)]


def entered(passages: Iterable[Passage]) -> dict[OrderStatus, int]:
    """How many orders ever entered each status; 0 for a status that none has entered."""
    counts = dict.fromkeys(OrderStatus, 0)
    for passage in passages:
        counts[passage.status] += passage.orders
    return counts


def conversion(passages: Sequence[Passage]) -> list[Step]:
    """The steps that orders took, in the order of an order's life."""
    entries = entered(passages)
    life = list(OrderStatus)

    steps = [
        Step(
            status=passage.status,
            to=passage.to,
            orders=passage.orders,
            share=round(passage.orders / entries[passage.status], SHARE_DIGITS),
        )
        for passage in passages
        if passage.to is not None
    ]

    return sorted(steps, key=lambda step: (life.index(step.status), life.index(step.to)))
