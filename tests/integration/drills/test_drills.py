"""
Drills in their short form, one after the other on one stack: records and handlers that fail,
processes that are slow, killed or stopped, servers that are away. `long`: what waits for three
attempts or a session, and what needs three brokers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.quiet_display import QUIET

from orderflow.drills.catalogue import find
from orderflow.drills.conduct import SHORT
from orderflow.drills.drill import Ground
from orderflow.drills.judge import BooksJudge
from orderflow.drills.programme import Stage, staged

ON_ONE_BROKER = (
    "poison-record",
    "slow-consumer",
    "killed-payment-mid-transaction",
    "killed-relay",
    "registry-down",
    "database-down",
    "broker-down",
    pytest.param("handler-bug", marks=pytest.mark.long),
    # The last one: its second worker keeps partitions for a session.
    pytest.param("zombie-worker", marks=pytest.mark.long),
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(Ground()) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ON_ONE_BROKER)
def test_a_drill_breaks_something_and_it_heals(stage: Stage, name: str) -> None:
    outcome = stage.run(find(name), pace=SHORT, judge=BooksJudge(), display=QUIET)
    assert outcome.has_passed, "\n".join(outcome.failures)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_loss_of_a_leader_heals() -> None:
    drill = find("leader-lost")
    with staged(drill.ground) as three_brokers:
        outcome = three_brokers.run(drill, pace=SHORT, judge=BooksJudge(), display=QUIET)
    assert outcome.has_passed, "\n".join(outcome.failures)
