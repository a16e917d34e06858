"""The JSON bodies of the analytics API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.events import OrderStatus
from orderflow.services.analytics.model import Funnel, conversion, entered

HOURS_DEFAULT = 168
HOURS_MAX = 744
HOURS = Annotated[int, Meta(ge=1, le=HOURS_MAX)]


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders went from `from` to `to`. `share`: of all that ever entered `from`."""

    from_: OrderStatus = msgspec.field(name="from")
    to: OrderStatus
    orders: int
    share: float


class StayView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How long orders that have left the status were in it, in seconds."""

    orders: int
    p50_s: float = msgspec.field(name="p50S")
    p95_s: float = msgspec.field(name="p95S")


class HourView(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders entered `status` in the hour that begins at `hour`, UTC."""

    hour: datetime
    status: OrderStatus
    count: int


class FunnelView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    Counts of the consumed events alone: every time in it is an event's.

    `current`: how many orders are in each status now. `entered`: how many ever entered it.
    `timeInState`: by status, for orders that have left it. `byHour`: the hours up to that of the
    last event; hours without an event are left out.
    """

    orders: int
    current: dict[str, int]
    entered: dict[str, int]
    conversion: tuple[StepView, ...]
    time_in_state: dict[str, StayView]
    by_hour: tuple[HourView, ...]
    last_event_at: datetime | None


def funnel_view(funnel: Funnel) -> FunnelView:
    return FunnelView(
        orders=sum(funnel.current.values()),
        current={str(status): funnel.current[status] for status in OrderStatus},
        entered={str(status): count for status, count in entered(funnel.passages).items()},
        conversion=tuple(
            StepView(from_=step.status, to=step.to, orders=step.orders, share=step.share)
            for step in conversion(funnel.passages)
        ),
        time_in_state={
            str(stay.status): StayView(orders=stay.orders, p50_s=stay.p50_s, p95_s=stay.p95_s)
            for stay in funnel.stays
        },
        by_hour=tuple(
            HourView(hour=hour.hour, status=hour.status, count=hour.count) for hour in funnel.hours
        ),
        last_event_at=funnel.last_event_at,
    )
