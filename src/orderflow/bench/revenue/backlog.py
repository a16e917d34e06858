"""A backlog of captures and refunds, and what it must come to: for each customer and record."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import uuid_utils.compat as uuids

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    CurrencyTotals,
    CustomerRevenueChange,
    Event,
    OrderLine,
    PaymentRefunded,
    PaymentSucceeded,
    RevenueByCustomer,
    RevenueByHour,
)
from orderflow.contracts.ids import CustomerId, OrderId, Sku, payment_id, refund_id
from orderflow.messaging.event import CE_ID, EventId, derived_id, read_clock
from orderflow.trials.records import Record

REFUNDS = 0.05
"""The share of the records that are refunds, each of an earlier capture."""
SPREAD = timedelta(hours=2)
SKUS = ("KEYBOARD-01", "MOUSE-01", "MONITOR-27", "CABLE-USB-C", "HEADSET-PRO")


class Totals(msgspec.Struct, frozen=True):
    """Sums over captures and refunds of one currency."""

    captured_minor: int = 0
    refunded_minor: int = 0
    payments: int = 0
    refunds: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.captured_minor + other.captured_minor,
            self.refunded_minor + other.refunded_minor,
            self.payments + other.payments,
            self.refunds + other.refunds,
        )

    @classmethod
    def of(cls, totals: CurrencyTotals) -> Totals:
        return cls(totals.captured_minor, totals.refunded_minor, totals.payments, totals.refunds)


ByCustomer = dict[tuple[str, str], Totals]
"""By customer and currency."""


def captures_and_refunds(count: int, *, customers: int, draw: random.Random) -> list[Event]:
    """
    Captures of two lines each and their refunds, in part or whole, of the last two hours; every
    payment id once. A tenth of the customers pay in dollars.
    """
    now = read_clock()
    captures: list[PaymentSucceeded] = []
    events: list[Event] = []
    for place in range(count):
        at = now - SPREAD * (1 - place / count)
        occurred_at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        if len(captures) > count // 10 and draw.random() < REFUNDS / 0.9:
            refunded = captures.pop(draw.randrange(len(captures)))
            events.append(_refund(refunded, occurred_at, draw))
        else:
            capture = _capture(draw.randrange(customers), occurred_at, draw)
            captures.append(capture)
            events.append(capture)

    return events


def totals_of(events: Iterable[Event]) -> ByCustomer:
    """What the events come to, if each counts once."""
    totals: ByCustomer = {}
    for event in events:
        if isinstance(event, PaymentSucceeded):
            key, change = (event.customer_id, event.currency), Totals(event.amount_minor, 0, 1, 0)
        elif isinstance(event, PaymentRefunded):
            key, change = (event.customer_id, event.currency), Totals(0, event.amount_minor, 0, 1)
        else:
            continue
        totals[key] = totals.get(key, Totals()) + change

    return totals


def added(first: ByCustomer, second: ByCustomer) -> ByCustomer:
    """Both together."""
    return {
        key: first.get(key, Totals()) + second.get(key, Totals())
        for key in first.keys() | second.keys()
    }


def by_currency(totals: Mapping[tuple[str, str], Totals]) -> dict[str, Totals]:
    """Summed over all customers."""
    summed: dict[str, Totals] = {}
    for (_name, currency), part in totals.items():
        summed[currency] = summed.get(currency, Totals()) + part
    return summed


def customers_of(revenues: Iterable[RevenueByCustomer]) -> ByCustomer:
    """What a table of customers says."""
    return {
        (revenue.customer_id, currency): Totals.of(totals)
        for revenue in revenues
        for currency, totals in revenue.totals.items()
    }


def currencies_of(hours: Iterable[RevenueByHour]) -> dict[str, Totals]:
    """What a table of hours adds up to."""
    return by_currency(
        {(str(revenue.hour), revenue.currency): Totals.of(revenue.totals) for revenue in hours}
    )


def rekeyed_ids(records: Iterable[Record]) -> set[str]:
    """The ids of the changes by customer that these records must cause, whoever makes them."""
    return {_rekeyed_id(dict(headers)[CE_ID]) for _key, _value, headers in records}


def _rekeyed_id(payment: bytes) -> str:
    cause, name = EventId(UUID(payment.decode())), CustomerRevenueChange.type_name()
    return str(derived_id(NAMESPACE, cause=cause, event_type=name, index=0))


def _capture(number: int, occurred_at: datetime, draw: random.Random) -> PaymentSucceeded:
    order_id = OrderId(str(uuids.uuid7()))
    payment = payment_id(order_id, 1)
    lines = tuple(
        OrderLine(
            sku=Sku(sku), quantity=draw.randint(1, 3), unit_price_minor=draw.randrange(990, 9_990)
        )
        for sku in draw.sample(SKUS, 2)
    )

    return PaymentSucceeded(
        order_id=order_id,
        customer_id=CustomerId(f"customer-{number}"),
        attempt=1,
        payment_id=payment,
        amount_minor=sum(line.quantity * line.unit_price_minor for line in lines),
        currency="EUR" if number % 10 else "USD",
        payment_method="pm_ok",
        provider_reference=payment,
        lines=lines,
        occurred_at=occurred_at.astimezone(UTC),
    )


def _refund(
    capture: PaymentSucceeded, occurred_at: datetime, draw: random.Random
) -> PaymentRefunded:
    return PaymentRefunded(
        order_id=capture.order_id,
        customer_id=capture.customer_id,
        attempt=1,
        payment_id=capture.payment_id,
        refund_id=refund_id(capture.payment_id),
        amount_minor=draw.randint(1, capture.amount_minor),
        currency=capture.currency,
        reason="ORDER_CANCELLED",
        provider_reference=capture.payment_id,
        occurred_at=occurred_at.astimezone(UTC),
    )
