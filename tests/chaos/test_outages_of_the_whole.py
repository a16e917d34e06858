"""
Outages of a whole stack with three brokers, one after the other, at a hundred orders a second.

After each the stack must come to rest with every accepted order there and nothing undone; at the
end topics, orders and the provider's ledger are compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.afterwards import charge_another_amount, differences, repeat_an_order
from tests.support.campaigns import Campaign
from tests.support.outages import FULL_DISK, GROUND, OUTAGES, SHORT_OUTAGES
from tests.support.quiet_display import QUIET
from tests.support.small_disk import why_not

from orderflow.drills.conduct import Pace
from orderflow.drills.drill import Drill
from orderflow.drills.judge import BooksJudge
from orderflow.drills.programme import Stage, staged

PACE = Pace(rate_per_s=100, warm_up=100, hold_s=1.0, orders_max=100_000)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(GROUND) as running:
        yield running


def run(stage: Stage, drill: Drill, campaign: Campaign) -> None:
    outcome = stage.run(drill, pace=PACE, judge=BooksJudge(), display=QUIET)
    campaign.count(drill.breaks, faults=1, checked=f"{outcome.placed:,} orders")
    assert outcome.has_passed, "\n".join(outcome.failures)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("drill", SHORT_OUTAGES, ids=lambda drill: drill.name)
def test_an_outage_under_load_costs_nothing_but_time(
    stage: Stage, drill: Drill, campaign: Campaign
) -> None:
    run(stage, drill, campaign)


@pytest.mark.long
@pytest.mark.parametrize("drill", OUTAGES, ids=lambda drill: drill.name)
def test_a_long_outage_under_load_costs_nothing_but_time(
    stage: Stage, drill: Drill, campaign: Campaign
) -> None:
    run(stage, drill, campaign)


@pytest.mark.long
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be had")
def test_a_full_disk_of_one_broker_costs_nothing_but_time(stage: Stage, campaign: Campaign) -> None:
    run(stage, FULL_DISK, campaign)


@pytest.mark.parametrize("outages", ["short", pytest.param("long", marks=pytest.mark.long)])
def test_afterwards_orders_topics_and_the_providers_ledger_tell_the_same(
    stage: Stage, outages: str
) -> None:
    assert differences(stage.stack) == [], f"after the {outages} outages"


def test_a_planted_difference_of_each_kind_is_found(stage: Stage) -> None:
    """Else that proves nothing. The last test on this stack: it is spoilt."""
    repeat_an_order(stage.stack)
    charge_another_amount(stage.stack)
    # Not how many ids: whoever handles an event again announces the same again, under its id.
    kinds = [kind.partition(":")[0].partition(" ")[2] for kind in differences(stage.stack)]
    assert kinds == [
        "orders without exactly one OrderCreated",
        "event ids that came twice",
        "orders whose money is not what it should be",
    ]
