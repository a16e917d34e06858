"""The JSON bodies of the revenue API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.contracts.events import CurrencyTotals, RevenueByCustomer, RevenueByHour
from orderflow.messaging.streams.interactive_queries import Freshness

TOP_DEFAULT = 10
TOP_MAX = 1_000
TOP = Annotated[int, Meta(ge=1, le=TOP_MAX)]
DAYS_MAX = 31
HOURS_DEFAULT = 24


class CustomerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A customer's revenue, by currency."""

    customer_id: str
    totals: dict[str, CurrencyTotals]
    updated_at: datetime
    freshness: Freshness


class RankedCustomer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    customer_id: str
    totals: CurrencyTotals
    updated_at: datetime


class TopView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The customers with the highest net revenue in one currency. `freshness`: each partition's."""

    currency: str
    items: tuple[RankedCustomer, ...]
    freshness: tuple[Freshness, ...]


class HourView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    hour: datetime
    currency: str
    totals: CurrencyTotals
    updated_at: datetime


class HoursView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Revenue hour by hour; hours without any are left out. `freshness`: each partition's."""

    items: tuple[HourView, ...]
    freshness: tuple[Freshness, ...]


def ranked(revenue: RevenueByCustomer, currency: str) -> RankedCustomer:
    return RankedCustomer(
        customer_id=revenue.customer_id,
        totals=revenue.totals[currency],
        updated_at=revenue.updated_at,
    )


def hour_view(revenue: RevenueByHour) -> HourView:
    return msgspec.convert(revenue, HourView, from_attributes=True)
