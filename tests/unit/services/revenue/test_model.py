"""What captures and refunds do to revenue: tables of examples, then any payments in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.builders import (
    AT,
    an_order,
    cancelled,
    paid,
    payment_failed,
    refunded,
    reserved,
)

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
from orderflow.services.revenue import model
from orderflow.services.revenue.model import HOURS, NOTHING

HOUR = datetime(2026, 1, 31, 9, tzinfo=UTC)
LATER, EARLIER = AT + timedelta(minutes=5), AT - timedelta(days=3)

Paid = PaymentSucceeded | PaymentRefunded


def totals(captured: int, refunded: int, payments: int, refunds: int) -> CurrencyTotals:
    return CurrencyTotals(
        captured_minor=captured,
        refunded_minor=refunded,
        net_minor=captured - refunded,
        payments=payments,
        refunds=refunds,
    )


def capture(
    minor: int, currency: str = "EUR", *, at: datetime = AT, customer: str = "ada"
) -> PaymentSucceeded:
    return replace(
        paid(an_order(customer=customer, minor=minor)), currency=currency, occurred_at=at
    )


def refund(
    minor: int, currency: str = "EUR", *, at: datetime = AT, customer: str = "ada"
) -> PaymentRefunded:
    return replace(
        refunded(an_order(customer=customer, minor=minor)), currency=currency, occurred_at=at
    )


def changes(events: Iterable[Envelope]) -> list[CustomerRevenueChange]:
    return [change for event in events for change in model.by_customer(event)]


def customers(counted: Iterable[CustomerRevenueChange]) -> dict[str, RevenueByCustomer]:
    table: dict[str, RevenueByCustomer] = {}
    for change in counted:
        table[change.key] = model.add_to_customer(table.get(change.key), change)
    return table


def hours(counted: Iterable[HourRevenueChange]) -> dict[str, RevenueByHour]:
    table: dict[str, RevenueByHour] = {}
    for change in counted:
        table[change.key] = model.add_to_hour(table.get(change.key), change)
    return table


def forwarded(counted: Iterable[CustomerRevenueChange]) -> list[HourRevenueChange]:
    return [of_hour for change in counted for of_hour in model.by_hour(change)]


def summed(events: Iterable[Paid]) -> CurrencyTotals:
    """What these come to, by plain sums."""
    captures = [e.amount_minor for e in events if isinstance(e, PaymentSucceeded)]
    refunds = [e.amount_minor for e in events if isinstance(e, PaymentRefunded)]
    return totals(sum(captures), sum(refunds), len(captures), len(refunds))


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([capture(100)], {"EUR": totals(100, 0, 1, 0)}),
        ([capture(100), capture(50)], {"EUR": totals(150, 0, 2, 0)}),
        ([capture(100), refund(30)], {"EUR": totals(100, 30, 1, 1)}),
        ([capture(100), refund(100)], {"EUR": totals(100, 100, 1, 1)}),
        # Each topic has its own order of replays: a refund may come before its payment.
        ([refund(30)], {"EUR": totals(0, 30, 0, 1)}),
        ([refund(30), capture(100)], {"EUR": totals(100, 30, 1, 1)}),
        # An order of nothing is paid all the same.
        ([capture(0)], {"EUR": totals(0, 0, 1, 0)}),
        ([capture(0), refund(0)], {"EUR": totals(0, 0, 1, 1)}),
        (
            [capture(100), capture(700, "JPY"), refund(200, "JPY")],
            {"EUR": totals(100, 0, 1, 0), "JPY": totals(700, 200, 1, 1)},
        ),
        # No float would keep the last unit.
        ([capture(2**53), capture(1)], {"EUR": totals(2**53 + 1, 0, 2, 0)}),
    ],
)
def test_a_customer_has_what_was_captured_minus_what_was_refunded_by_currency(
    events: Sequence[Paid], wanted: Mapping[str, CurrencyTotals]
) -> None:
    revenue = customers(changes(events))["ada"]
    assert revenue.totals == wanted
    assert model.net_by_currency(revenue) == {c: t.net_minor for c, t in wanted.items()}


@pytest.mark.parametrize(
    "event",
    [
        payment_failed(an_order()),
        an_order(),
        cancelled(an_order()),
        reserved(an_order()),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_but_captures_and_refunds_is_revenue(event: Envelope) -> None:
    assert changes([event]) == []


def test_a_capture_is_the_fact_of_its_payment_and_a_refund_that_of_its_own() -> None:
    order = an_order()
    payment, back = paid(order), refunded(order)
    (captured,), (given_back,) = model.by_customer(payment), model.by_customer(back)
    assert str(model.fact(captured)) == payment.payment_id
    assert str(model.fact(given_back)) == back.refund_id
    assert model.fact(captured) != model.fact(given_back)

    # An attempt is a payment of its own.
    (second,) = model.by_customer(paid(order, attempt=2))
    assert model.fact(second) != model.fact(captured)


def test_revenue_is_as_old_as_the_newest_event_in_it() -> None:
    """Whatever comes last: a late one must not make a total look older."""
    for events in ([capture(1), refund(1, at=LATER)], [refund(1, at=LATER), capture(1)]):
        counted = changes(events)
        assert customers(counted)["ada"].updated_at == LATER
        assert {hour.updated_at for hour in hours(forwarded(counted)).values()} == {LATER}


@pytest.mark.parametrize(
    ("at", "hour"),
    [
        (HOUR, HOUR),
        (HOUR + timedelta(minutes=59, seconds=59, milliseconds=999), HOUR),
        (HOUR + timedelta(hours=1), HOUR + timedelta(hours=1)),
        (HOUR - timedelta(milliseconds=1), HOUR - timedelta(hours=1)),
    ],
)
def test_a_change_belongs_to_the_hour_of_its_event_time(at: datetime, hour: datetime) -> None:
    (change,) = forwarded(changes([capture(100, at=at)]))
    assert (change.hour, change.occurred_at) == (hour, at)
    assert change.key == f"{hour:%Y-%m-%dT%H}:00:00Z/EUR"


def test_a_late_event_restates_its_own_hour_and_no_other() -> None:
    before = hours(forwarded(changes([capture(100, at=EARLIER), capture(70)])))
    late = forwarded(changes([refund(30, at=EARLIER + timedelta(seconds=1))]))
    after = dict(before)
    for change in late:
        after[change.key] = model.add_to_hour(after.get(change.key), change)

    restated = {key for key in after if after[key] != before.get(key)}
    assert restated == {late[0].key}
    assert after[late[0].key].totals == totals(100, 30, 1, 1)


def test_an_hour_has_each_currency_apart() -> None:
    table = hours(forwarded(changes([capture(100), capture(700, "JPY"), refund(10)])))
    assert {key: hour.totals for key, hour in table.items()} == {
        "2026-01-31T09:00:00Z/EUR": totals(100, 10, 1, 1),
        "2026-01-31T09:00:00Z/JPY": totals(700, 0, 1, 0),
    }


def test_keys_of_hours_sort_by_time_then_by_currency() -> None:
    """A range of hours is a range of keys."""
    moments = [HOUR + timedelta(hours=number) for number in (-800, -15, -1, 0, 1, 14, 400)]
    keys = [
        forwarded(changes([capture(1, currency, at=moment)]))[0].key
        for moment in moments
        for currency in ("CHF", "EUR", "JPY")
    ]
    assert keys == sorted(keys)
    assert [key.encode() for key in keys] == sorted(key.encode() for key in keys)


def test_a_change_and_its_total_have_one_key() -> None:
    (change,) = changes([capture(100)])
    (of_hour,) = forwarded([change])
    assert change.key == model.add_to_customer(None, change).key == "ada"
    assert of_hour.key == model.add_to_hour(None, of_hour).key


moments = st.integers(0, 6 * 3_600_000).map(lambda ms: HOUR + timedelta(milliseconds=ms))
payments = st.builds(
    lambda make, minor, currency, at, customer: make(minor, currency, at=at, customer=customer),
    st.sampled_from([capture, refund]),
    st.integers(0, 10**12),
    st.sampled_from(["EUR", "JPY"]),
    moments,
    st.sampled_from(["ada", "grace"]),
)
"""A payment or a refund of any of a few customers within six hours, with ids of its own."""


@given(st.lists(payments, max_size=30), st.randoms(use_true_random=False))
def test_in_any_order_totals_are_the_sums_of_what_each_fact_reports(
    events: list[Paid], random: Random
) -> None:
    """Repeats have the facts of what they repeat: these are what the table counts once."""
    repeated = events + random.choices(events, k=len(events)) if events else []
    random.shuffle(repeated)
    once = {model.fact(change): change for change in changes(repeated)}

    table = customers(once.values())
    assert {
        (customer, currency): of_currency
        for customer, revenue in table.items()
        for currency, of_currency in revenue.totals.items()
    } == {
        (customer, currency): summed(
            [e for e in events if (e.customer_id, e.currency) == (customer, currency)]
        )
        for customer, currency in {(e.customer_id, e.currency) for e in events}
    }
    assert {customer: revenue.updated_at for customer, revenue in table.items()} == {
        customer: max(e.occurred_at for e in events if e.customer_id == customer)
        for customer in {e.customer_id for e in events}
    }


@given(st.lists(payments, max_size=30), st.randoms(use_true_random=False))
def test_in_any_order_hours_are_the_sums_of_their_own_events(
    events: list[Paid], random: Random
) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    table = hours(forwarded(changes(shuffled)))
    assert {(hour.hour, hour.currency): hour.totals for hour in table.values()} == {
        (hour, currency): summed(
            [e for e in events if (HOURS.start_of(e.occurred_at), e.currency) == (hour, currency)]
        )
        for hour, currency in {(HOURS.start_of(e.occurred_at), e.currency) for e in events}
    }


@given(st.lists(payments, max_size=30))
def test_customers_and_hours_come_to_the_same_by_currency(events: list[Paid]) -> None:
    counted = changes(events)
    by_customer = [
        (currency, of_currency)
        for revenue in customers(counted).values()
        for currency, of_currency in revenue.totals.items()
    ]
    by_hour = [(hour.currency, hour.totals) for hour in hours(forwarded(counted)).values()]
    assert added(by_customer) == added(by_hour)


@given(st.lists(payments, min_size=1, max_size=30), st.data())
def test_changes_put_together_in_any_batches_come_to_the_same_hours(
    events: list[Paid], data: st.DataObject
) -> None:
    """A commit sends one change for each hour: how many records were in it must not matter."""
    single = forwarded(changes(events))
    batched: list[HourRevenueChange] = []
    rest = list(single)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        batch, rest = rest[:size], rest[size:]
        for key in {change.key for change in batch}:
            batched.append(reduce(model.together, [c for c in batch if c.key == key]))

    assert hours(batched) == hours(single)


def added(rows: Iterable[tuple[str, CurrencyTotals]]) -> dict[str, CurrencyTotals]:
    sums: dict[str, CurrencyTotals] = {}
    for currency, more in rows:
        before = sums.get(currency, NOTHING)
        sums[currency] = totals(
            before.captured_minor + more.captured_minor,
            before.refunded_minor + more.refunded_minor,
            before.payments + more.payments,
            before.refunds + more.refunds,
        )
    return sums
