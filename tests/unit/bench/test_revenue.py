"""The benchmark of revenue: what its backlog must come to, its baselines, its table."""

from __future__ import annotations

import random

import msgspec
import pytest

from orderflow.bench.revenue import backlog
from orderflow.bench.revenue.backlog import Totals
from orderflow.bench.revenue.bench import NAIVE, NO_STATE, OURS, Plan, Report, Turn
from orderflow.bench.revenue.naive import Sums
from orderflow.bench.revenue.report import print_report
from orderflow.bench.revenue.worker import without_state
from orderflow.contracts.events import (
    Envelope,
    PaymentRefunded,
    PaymentSucceeded,
    RevenueByCustomer,
    RevenueByHour,
)
from orderflow.contracts.topics import BY_CUSTOMER_REPARTITION, BY_HOUR_REPARTITION
from orderflow.services.revenue.topology import TOPOLOGY
from orderflow.trials.machine import Machine

COUNT = 2_000
EVENTS = backlog.captures_and_refunds(COUNT, customers=50, draw=random.Random(7))
MACHINE = Machine(
    cpu="a CPU",
    cores=2,
    memory_gib=8,
    kernel="6",
    python="3.11",
    packages={},
    load_average_before=0.1,
)


def test_a_twentieth_of_the_backlog_are_refunds_of_earlier_captures_each_id_once() -> None:
    captures = {event.payment_id: event for event in EVENTS if isinstance(event, PaymentSucceeded)}
    refunds = [event for event in EVENTS if isinstance(event, PaymentRefunded)]
    assert len(captures) + len(refunds) == COUNT
    assert 0.03 * COUNT < len(refunds) < 0.07 * COUNT
    assert len({event.refund_id for event in refunds}) == len(refunds)
    assert all(
        refund.amount_minor <= captures[refund.payment_id].amount_minor
        and refund.customer_id == captures[refund.payment_id].customer_id
        and refund.currency == captures[refund.payment_id].currency
        and refund.occurred_at >= captures[refund.payment_id].occurred_at
        for refund in refunds
    )


def test_the_same_seed_gives_the_same_amounts() -> None:
    again = backlog.captures_and_refunds(COUNT, customers=50, draw=random.Random(7))
    assert backlog.totals_of(again) == backlog.totals_of(EVENTS)


def test_what_the_naive_baseline_sums_up_is_what_the_backlog_must_come_to() -> None:
    """Two ways to the same totals; a wrong one would accept wrong figures."""
    sums, last = Sums(), dict[str, Envelope]()
    waiting: list[Envelope] = list(EVENTS)
    for event in waiting:
        for topic, output in sums.outputs(event):
            if topic in (BY_CUSTOMER_REPARTITION.name, BY_HOUR_REPARTITION.name):
                waiting.append(output)
            else:
                last[output.key] = output

    expected = backlog.totals_of(EVENTS)
    customers = [value for value in last.values() if isinstance(value, RevenueByCustomer)]
    hours = [value for value in last.values() if isinstance(value, RevenueByHour)]
    assert backlog.customers_of(customers) == expected
    assert backlog.currencies_of(hours) == backlog.by_currency(expected)


def test_totals_of_turns_add_up() -> None:
    first = {("a", "EUR"): Totals(100, 0, 1, 0)}
    second = {("a", "EUR"): Totals(0, 30, 0, 1), ("b", "USD"): Totals(5, 0, 1, 0)}
    assert backlog.added(first, second) == {
        ("a", "EUR"): Totals(100, 30, 1, 1),
        ("b", "USD"): Totals(5, 0, 1, 0),
    }


def test_the_baseline_without_state_computes_the_same_and_leaves_nothing_to_write() -> None:
    topology = without_state(TOPOLOGY)
    assert topology.rekey is TOPOLOGY.rekey
    assert [table.facts for table in topology.tables] == [None, None]

    change = next(iter(topology.rekey(EVENTS[0])))
    customers, kept = topology.tables[0], TOPOLOGY.tables[0]
    assert customers.fold(None, change) is None
    assert list(customers.forward(change)) == list(kept.forward(change))
    assert customers.fold.values == {change.key: kept.fold(None, change)}  # type: ignore[attr-defined]


def test_a_report_shows_medians_beside_each_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    turns = [
        Turn(
            target=target,
            records=60_000,
            per_s=per_s,
            cpu_us_per_record=25.0,
            duplicates=0,
            missing=0,
            customers=9_876 if target == OURS else 0,
        )
        for target, rates in (
            (OURS, (29_000, 30_000, 40_000)),
            (NO_STATE, (45_000,)),
            (NAIVE, (60,)),
        )
        for per_s in rates
    ]
    ratios = {NO_STATE: 0.667, NAIVE: 500.0}
    report = Report(machine=MACHINE, plan=Plan(), turns=turns, ratios=ratios)

    print_report(report)
    shown = capsys.readouterr().out
    assert "30,000" in shown
    assert "0.67 × without state" in shown
    assert "500.00 × one transaction each" in shown
    assert "9,876" in shown
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
