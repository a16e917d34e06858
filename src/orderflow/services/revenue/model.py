"""What a capture or a refund does to revenue: pure functions of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from uuid import UUID

from msgspec.structs import replace

from orderflow.contracts.events import (
    CurrencyTotals,
    CustomerRevenueChange,
    Envelope,
    HourRevenueChange,
    PaymentRefunded,
    PaymentSucceeded,
    RevenueByCustomer,
    RevenueByHour,
)
from orderflow.contracts.ids import FactId
from orderflow.messaging.streams.windows import TumblingWindows

HOURS = TumblingWindows(timedelta(hours=1))
NOTHING = CurrencyTotals(captured_minor=0, refunded_minor=0, net_minor=0, payments=0, refunds=0)


def by_customer(event: Envelope) -> Iterable[CustomerRevenueChange]:
    """A payment or a refund, re-keyed by customer; nothing for any other event."""
    if isinstance(event, PaymentSucceeded):
        yield CustomerRevenueChange(
            customer_id=event.customer_id,
            fact_id=FactId(event.payment_id),
            currency=event.currency,
            captured_minor=event.amount_minor,
            refunded_minor=0,
            is_refund=False,
            occurred_at=event.occurred_at,
        )
    elif isinstance(event, PaymentRefunded):
        yield CustomerRevenueChange(
            customer_id=event.customer_id,
            fact_id=FactId(event.refund_id),
            currency=event.currency,
            captured_minor=0,
            refunded_minor=event.amount_minor,
            is_refund=True,
            occurred_at=event.occurred_at,
        )


def fact(change: CustomerRevenueChange) -> UUID:
    """What counts once: the payment, or the refund."""
    return UUID(change.fact_id)


def by_hour(change: CustomerRevenueChange) -> Iterable[HourRevenueChange]:
    """A change that counts, re-keyed by its currency and the hour of its event time."""
    yield HourRevenueChange(
        hour=HOURS.start_of(change.occurred_at),
        currency=change.currency,
        captured_minor=change.captured_minor,
        refunded_minor=change.refunded_minor,
        payments=int(not change.is_refund),
        refunds=int(change.is_refund),
        occurred_at=change.occurred_at,
    )


def together(change: HourRevenueChange, another: HourRevenueChange) -> HourRevenueChange:
    """Two changes of one hour as one."""
    return HourRevenueChange(
        hour=change.hour,
        currency=change.currency,
        captured_minor=change.captured_minor + another.captured_minor,
        refunded_minor=change.refunded_minor + another.refunded_minor,
        payments=change.payments + another.payments,
        refunds=change.refunds + another.refunds,
        occurred_at=max(change.occurred_at, another.occurred_at),
    )


def add_to_customer(
    revenue: RevenueByCustomer | None, change: CustomerRevenueChange
) -> RevenueByCustomer:
    """A customer's revenue after one more change."""
    if revenue is None:
        return RevenueByCustomer(
            customer_id=change.customer_id,
            totals={change.currency: _add(NOTHING, change)},
            updated_at=change.occurred_at,
        )

    before = revenue.totals.get(change.currency, NOTHING)
    return replace(
        revenue,
        totals={**revenue.totals, change.currency: _add(before, change)},
        updated_at=max(revenue.updated_at, change.occurred_at),
    )


def add_to_hour(revenue: RevenueByHour | None, change: HourRevenueChange) -> RevenueByHour:
    """One hour's revenue after one more change; a late one restates its own hour."""
    if revenue is None:
        return RevenueByHour(
            hour=change.hour,
            currency=change.currency,
            totals=_add_hour(NOTHING, change),
            updated_at=change.occurred_at,
        )
    return replace(
        revenue,
        totals=_add_hour(revenue.totals, change),
        updated_at=max(revenue.updated_at, change.occurred_at),
    )


def net_by_currency(revenue: RevenueByCustomer) -> Mapping[str, int]:
    """The numbers by which customers are listed: their net revenue in each currency."""
    return {currency: totals.net_minor for currency, totals in revenue.totals.items()}


def _add(before: CurrencyTotals, change: CustomerRevenueChange) -> CurrencyTotals:
    captured = before.captured_minor + change.captured_minor
    refunded = before.refunded_minor + change.refunded_minor
    return CurrencyTotals(
        captured_minor=captured,
        refunded_minor=refunded,
        net_minor=captured - refunded,
        payments=before.payments + (not change.is_refund),
        refunds=before.refunds + change.is_refund,
    )


def _add_hour(before: CurrencyTotals, change: HourRevenueChange) -> CurrencyTotals:
    captured = before.captured_minor + change.captured_minor
    refunded = before.refunded_minor + change.refunded_minor
    return CurrencyTotals(
        captured_minor=captured,
        refunded_minor=refunded,
        net_minor=captured - refunded,
        payments=before.payments + change.payments,
        refunds=before.refunds + change.refunds,
    )
