"""What captures and refunds do to revenue: the sums, whatever their order, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import an_order, paid, payment_failed, refunded

from orderflow.contracts.events import (
    CurrencyTotals,
    CustomerRevenueChange,
    HourRevenueChange,
    RevenueByCustomer,
    RevenueByHour,
)
from orderflow.contracts.ids import CustomerId, FactId
from orderflow.services.revenue import model

NINE = datetime(2026, 1, 31, 9, tzinfo=UTC)

CHANGES = st.lists(
    st.builds(
        lambda minor, is_refund, currency, minutes: CustomerRevenueChange(
            customer_id=CustomerId("alice"),
            fact_id=FactId("5f1c3c5e-0000-5000-8000-000000000001"),
            currency=currency,
            captured_minor=0 if is_refund else minor,
            refunded_minor=minor if is_refund else 0,
            is_refund=is_refund,
            occurred_at=NINE + timedelta(minutes=minutes),
        ),
        st.integers(0, 10**12),
        st.booleans(),
        st.sampled_from(["EUR", "JPY"]),
        st.integers(0, 300),
    ),
    min_size=1,
    max_size=30,
)


def change(
    captured: int = 0, refunded: int = 0, currency: str = "EUR", *, at: datetime = NINE
) -> CustomerRevenueChange:
    return CustomerRevenueChange(
        customer_id=CustomerId("alice"),
        fact_id=FactId("5f1c3c5e-0000-5000-8000-000000000001"),
        currency=currency,
        captured_minor=captured,
        refunded_minor=refunded,
        is_refund=refunded > 0,
        occurred_at=at,
    )


def hours(changes: Sequence[CustomerRevenueChange]) -> dict[str, RevenueByHour]:
    table: dict[str, RevenueByHour] = {}
    for each in changes:
        (event,) = model.by_hour(each)
        table[event.key] = model.add_to_hour(table.get(event.key), event)
    return table


def test_a_payment_and_its_refund_are_re_keyed_by_customer_each_a_fact_of_its_own() -> None:
    order = an_order(customer="alice", minor=700)
    (capture,) = model.by_customer(paid(order))
    (refund,) = model.by_customer(refunded(order))
    assert (capture.key, capture.captured_minor, capture.refunded_minor) == ("alice", 700, 0)
    assert (refund.key, refund.captured_minor, refund.refunded_minor) == ("alice", 0, 700)
    assert str(model.fact(capture)) == paid(order).payment_id
    assert str(model.fact(refund)) == refunded(order).refund_id


def test_a_payment_that_failed_is_no_revenue() -> None:
    assert list(model.by_customer(payment_failed(an_order()))) == []


def test_a_payment_of_nothing_counts_as_a_payment() -> None:
    (change,) = model.by_customer(paid(an_order(customer="alice", minor=0)))
    totals = model.add_to_customer(None, change).totals["EUR"]
    assert (totals.payments, totals.net_minor) == (1, 0)


@pytest.mark.parametrize(
    ("changes", "nets"),
    [
        ([change(100), change(refunded=30)], {"EUR": 70}),
        # Topics are replayed one by one: a refund may come before its payment.
        ([change(refunded=30)], {"EUR": -30}),
        ([change(refunded=30), change(100)], {"EUR": 70}),
        ([change(100), change(700, currency="JPY")], {"EUR": 100, "JPY": 700}),
        # A float would lose the last unit.
        ([change(2**53), change(1)], {"EUR": 2**53 + 1}),
    ],
)
def test_net_is_what_was_captured_minus_what_was_refunded_by_currency(
    changes: Sequence[CustomerRevenueChange], nets: Mapping[str, int]
) -> None:
    revenue: RevenueByCustomer | None = None
    for each in changes:
        revenue = model.add_to_customer(revenue, each)
    assert revenue is not None
    assert model.net_by_currency(revenue) == nets


def test_an_attempt_is_a_payment_of_its_own() -> None:
    order = an_order()
    facts = {
        model.fact(each)
        for event in (paid(order), paid(order, attempt=2), refunded(order))
        for each in model.by_customer(event)
    }
    assert len(facts) == 3


@pytest.mark.parametrize(
    ("at", "hour"),
    [
        (NINE, NINE),
        (NINE + timedelta(hours=1, milliseconds=-1), NINE),
        (NINE + timedelta(hours=1), NINE + timedelta(hours=1)),
        (NINE - timedelta(milliseconds=1), NINE - timedelta(hours=1)),
    ],
)
def test_a_change_belongs_to_the_hour_of_its_event_time(at: datetime, hour: datetime) -> None:
    (event,) = model.by_hour(change(100, at=at))
    assert (event.hour, event.occurred_at) == (hour, at)


def test_a_late_change_restates_its_own_hour_and_no_other() -> None:
    days_ago = NINE - timedelta(days=3)
    before = [change(100, at=days_ago), change(70), change(50, currency="JPY")]
    late = change(refunded=30, at=days_ago + timedelta(seconds=1))
    was, now = hours(before), hours([*before, late])
    assert was.keys() == now.keys()
    assert {key: now[key].totals.net_minor for key in now if now[key] != was[key]} == {
        "2026-01-28T09:00:00Z/EUR": 70
    }


def test_keys_of_hours_sort_by_time_then_by_currency() -> None:
    """A range of hours is a range of keys."""
    keys = [
        event.key
        for passed in (-800, -15, -1, 0, 1, 14, 400)
        for currency in ("CHF", "EUR", "JPY")
        for event in model.by_hour(change(1, currency=currency, at=NINE + timedelta(hours=passed)))
    ]
    assert keys == sorted(keys)


def test_a_change_and_its_total_have_one_key() -> None:
    (of_hour,) = model.by_hour(change(100))
    assert change(100).key == model.add_to_customer(None, change(100)).key
    assert of_hour.key == model.add_to_hour(None, of_hour).key


@given(CHANGES)
def test_totals_are_the_sums_by_currency_in_any_order(
    changes: list[CustomerRevenueChange],
) -> None:
    revenue: RevenueByCustomer | None = None
    for change in changes:
        revenue = model.add_to_customer(revenue, change)
    assert revenue is not None
    again: RevenueByCustomer | None = None
    for change in reversed(changes):
        again = model.add_to_customer(again, change)
    assert again == revenue

    for currency, totals in revenue.totals.items():
        ours = [change for change in changes if change.currency == currency]
        assert totals == CurrencyTotals(
            captured_minor=sum(change.captured_minor for change in ours),
            refunded_minor=sum(change.refunded_minor for change in ours),
            net_minor=sum(change.captured_minor - change.refunded_minor for change in ours),
            payments=sum(not change.is_refund for change in ours),
            refunds=sum(change.is_refund for change in ours),
        )
    assert revenue.updated_at == max(change.occurred_at for change in changes)
    assert model.net_by_currency(revenue) == {
        currency: totals.net_minor for currency, totals in revenue.totals.items()
    }


@given(CHANGES)
def test_hours_are_the_same_whether_changes_come_one_by_one_or_together(
    changes: list[CustomerRevenueChange],
) -> None:
    """Each belongs to the hour of its own time: a late one restates that hour."""
    forwarded = [event for change in changes for event in model.by_hour(change)]
    by_one: dict[str, RevenueByHour] = {}
    for event in forwarded:
        by_one[event.key] = model.add_to_hour(by_one.get(event.key), event)

    sums: dict[str, HourRevenueChange] = {}
    for event in forwarded:
        sums[event.key] = model.together(sums[event.key], event) if event.key in sums else event
    assert {key: model.add_to_hour(None, event) for key, event in sums.items()} == by_one

    for revenue in by_one.values():
        assert revenue.hour.minute == 0
        assert revenue.hour <= revenue.updated_at < revenue.hour + timedelta(hours=1)
    assert sum(revenue.totals.net_minor for revenue in by_one.values()) == sum(
        change.captured_minor - change.refunded_minor for change in changes
    )
