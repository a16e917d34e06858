"""What the demo expects of each customer's revenue: its own payments and refunds, no more."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from orderflow.cli.demo.revenue import NOTHING, Moved, Totals, moved
from orderflow.cli.demo.stories import STORIES
from orderflow.cli.records import ReadableRecord
from orderflow.contracts.events import CurrencyTotals

BY_CUSTOMER = {story.customer: story for story in STORIES}
ORDER = {"currency": "EUR", "amountMinor": 100}
EARLIER = CurrencyTotals(
    captured_minor=500, refunded_minor=50, net_minor=450, payments=5, refunds=1
)


def totals(captured: int, refunded: int, payments: int, refunds: int) -> CurrencyTotals:
    return CurrencyTotals(
        captured_minor=captured,
        refunded_minor=refunded,
        net_minor=captured - refunded,
        payments=payments,
        refunds=refunds,
    )


def record_of(now: Totals) -> ReadableRecord:
    return ReadableRecord(
        topic="revenue-by-customer",
        partition=1,
        offset=7,
        timestamp=datetime.now(UTC),
        key="customer",
        headers={},
        value={"totals": msgspec.to_builtins(now)},
    )


def seen(customer: str, *, before: Totals, now: Totals, told: Totals | None) -> Moved:
    record = None if told is None else record_of(told)
    return moved(BY_CUSTOMER[customer], ORDER, before=before, now=now, record=record)


@pytest.mark.parametrize(
    ("customer", "now"),
    [("ada", totals(600, 50, 6, 1)), ("barbara", totals(600, 150, 6, 2))],
)
def test_a_capture_and_a_refund_move_what_was_there_before(
    customer: str, now: CurrencyTotals
) -> None:
    after = {"EUR": now, "USD": EARLIER}
    assert seen(customer, before={"EUR": EARLIER}, now=after, told=after).fits


def test_a_payment_that_counted_twice_does_not_fit() -> None:
    twice = {"EUR": totals(200, 0, 2, 0)}
    assert not seen("ada", before={}, now=twice, told=twice).fits


def test_a_record_that_says_something_else_or_is_missing_does_not_fit() -> None:
    after = {"EUR": totals(100, 0, 1, 0)}
    assert seen("ada", before={}, now=after, told=after).fits
    assert not seen("ada", before={}, now=after, told={"EUR": EARLIER}).fits
    assert not seen("ada", before={}, now=after, told=None).fits


def test_a_customer_who_was_declined_has_no_revenue_and_no_record() -> None:
    row = seen("grace", before={}, now={}, told=None)
    assert row.fits
    assert row.now == row.before == NOTHING
