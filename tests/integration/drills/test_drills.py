"""
Drills in their short form, one after the other on one stack: records and handlers that fail,
processes that are slow or killed, neighbours that lie, records that come twice.

`long`: servers and neighbours that are away, what waits for three attempts or a session, and what
needs three brokers. That nothing is lost while a server or a neighbour is away is proved in each
run elsewhere, and `test_drill_command` takes the database away.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.campaigns import Campaign
from tests.support.quiet_display import QUIET

from orderflow.drills.catalogue import find
from orderflow.drills.conduct import SHORT
from orderflow.drills.drill import Ground
from orderflow.drills.judge import BooksJudge
from orderflow.drills.programme import Stage, staged

IN_EACH_RUN = (
    "poison-record",
    "killed-payment-mid-transaction",
    "provider-lies",
    "incompatible-schema",
)
LONG = (
    "slow-consumer",
    "killed-relay",
    "unknown-payment",
    "duplicate-delivery",
    "hot-partition",
    "registry-down",
    "database-down",
    "broker-down",
    "provider-down",
    "mail-refused",
    "handler-bug",
    "rebalance-storm",
)
ON_ITS_OWN_STACK = ("leader-lost", "zombie-worker", "restored-from-old-backup")
"""It needs three brokers, or leaves the stack unfit for another."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(Ground()) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [*IN_EACH_RUN, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]
)
def test_a_drill_breaks_something_and_it_heals(stage: Stage, name: str, campaign: Campaign) -> None:
    outcome = stage.run(find(name), pace=SHORT, judge=BooksJudge(), display=QUIET)
    campaign.count(f"drill {name}", faults=1, checked=f"{outcome.placed:,} orders")
    assert outcome.has_passed, "\n".join(outcome.failures)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ON_ITS_OWN_STACK)
def test_a_drill_on_a_stack_of_its_own_heals(name: str) -> None:
    drill = find(name)
    with staged(drill.ground) as own:
        outcome = own.run(drill, pace=SHORT, judge=BooksJudge(), display=QUIET)
    assert outcome.has_passed, "\n".join(outcome.failures)
