"""
What the counts mean, without a driver in sight.

A status change is left by the next version of the same order; the last one of each order is where the order is now.
Until the version between two is there, the earlier one counts as entered and not as left: nobody knows where it went.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.contracts.ids import OrderId

SHARE_DIGITS = 4
SECONDS_DIGITS = 3


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """So many orders entered `status`, and left it for `to`; None: not yet."""

    status: OrderStatus
    to: OrderStatus | None
    orders: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders went from one status to another, and their share of all that ever entered the first."""

    status: OrderStatus
    to: OrderStatus
    orders: int
    share: float


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """How long orders were in a status that they have left: median and 95th percentile, in seconds."""

    status: OrderStatus
    orders: int
    p50_s: float
    p95_s: float


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders entered a status within the hour that begins at `hour`, UTC."""

    hour: datetime
    status: OrderStatus
    count: int


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known, at one moment of the database."""

    current: dict[OrderStatus, int]
    passages: tuple[Passage, ...]
    stays: tuple[Stay, ...]
    hours: tuple[Hour, ...]
    last_event_at: datetime | None


def newest(events: Iterable[OrderEvent]) -> list[OrderEvent]:
    """Of each order the latest of its events, by order id."""
    found: dict[OrderId, OrderEvent] = {}
    for event in events:
        known = found.get(event.order_id)
        if known is None or known.version < event.version:
            found[event.order_id] = event
    return [found[order_id] for order_id in sorted(found)]


def entered(passages: Iterable[Passage]) -> dict[OrderStatus, int]:
    """How many orders ever entered each status, those that nobody entered among them."""
    counts = dict.fromkeys(OrderStatus, 0)
    for passage in passages:
        counts[passage.status] += passage.orders
    return counts


def conversion(passages: Sequence[Passage]) -> list[Step]:
    """The steps that orders took, in the order of an order's life."""
    ever = entered(passages)
    life = list(OrderStatus)
    steps = [
        Step(
            status=passage.status,
            to=passage.to,
            orders=passage.orders,
            share=round(passage.orders / ever[passage.status], SHARE_DIGITS),
        )
        for passage in passages
        if passage.to is not None
    ]
    return sorted(steps, key=lambda step: (life.index(step.status), life.index(step.to)))
