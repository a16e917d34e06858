"""
Drills in their short form, one after the other on one stack: neighbours that are away or lie,
records that come twice or can't be read, workers that come and go.
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

ON_ONE_BROKER = (
    "provider-down",
    "provider-lies",
    "unknown-payment",
    "duplicate-delivery",
    "hot-partition",
    "incompatible-schema",
    "mail-refused",
    pytest.param("rebalance-storm", marks=pytest.mark.long),
    pytest.param("restored-from-old-backup", marks=pytest.mark.long),
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(Ground()) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ON_ONE_BROKER)
def test_a_drill_breaks_something_and_it_heals(stage: Stage, name: str, campaign: Campaign) -> None:
    drill = find(name)
    outcome = stage.run(drill, pace=SHORT, judge=BooksJudge(), display=QUIET)
    campaign.count(f"drill {name}", faults=1, checked=f"{outcome.placed:,} orders")
    assert outcome.has_passed, "\n".join(outcome.failures)
