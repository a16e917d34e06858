"""
Records that are handed over in bulk, beside those that take the usual way: the same totals, ids and
bytes, whatever fails in between.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.sales import BY_DAY, BY_SHOP, GROUP, NOON, SHOPS, DaySale, Tally
from tests.unit.messaging.streams.test_exactly_once_with_state import sold

from orderflow.messaging.container.deliveries.stateful import StatefulDelivery
from orderflow.messaging.container.stages.intake import Intake
from orderflow.messaging.errors import Poison, Unavailable
from orderflow.messaging.kafka import finished_offsets
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.streams.local_state import TaskState
from orderflow.messaging.streams.store.memory_store import MemoryStore
from orderflow.messaging.streams.store.store import StoreDamaged
from orderflow.messaging.testing.bus import Fault, Faults
from orderflow.messaging.testing.memory_client import MemoryClient

UNKIND = Faults(repeat=0.2, abort=0.1, unknown=0.1, expel=0.05, crash=0.05, wave_max=30)


@pytest.fixture
def usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_intake: Intake, _message: Any) -> None:
        raise Poison("the usual way, please")

    monkeypatch.setattr(Intake, "read_in_bulk", refuse)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was handed over in bulk."""
    sizes: list[int] = []
    handle = StatefulDelivery.handle_bulk

    def noted(delivery: StatefulDelivery, partition: Any, batch: Any) -> None:
        handle(delivery, partition, batch)
        sizes.append(len(batch))

    monkeypatch.setattr(StatefulDelivery, "handle_bulk", noted)
    return sizes


def test_records_of_which_nothing_waits_are_handed_over_in_bulk(batches: list[int]) -> None:
    tally = Tally()
    for number in range(40):
        tally.sell("north", f"r{number}")
    tally.run()
    assert tally.shops == {"north": (40, 40)}
    assert max(batches) > 5


@pytest.mark.parametrize("seed", range(10))
def test_totals_are_exact_in_bulk_whatever_fails(batches: list[int], seed: int) -> None:
    tally = Tally(faults=UNKIND, workers=2, seed=seed)
    expected, pieces = sold(tally, 60)
    assert tally.shops == tally.changelog == expected
    assert tally.days == {"2026-01-31": (pieces, 60)}
    assert batches


def test_bulk_and_the_usual_way_make_the_same_records(
    request: pytest.FixtureRequest,
) -> None:
    def made() -> list[tuple[Any, ...]]:
        tally = Tally(seed=3)
        tally.sell("north", "r1", 3)
        tally.run()
        topics = (BY_SHOP.name, SHOPS.name, BY_DAY.name)
        return [(m.key(), m.value(), m.headers()) for t in topics for m in tally.broker.records(t)]

    in_bulk = made()
    request.getfixturevalue("usual_way")
    assert made() == in_bulk


@pytest.mark.parametrize("wave_max", [1, 2, 3])
def test_what_was_finished_above_the_committed_offset_is_not_folded_again(wave_max: int) -> None:
    """After a restart it is fetched again behind the record that waited, when nothing waits."""
    tally = Tally(faults=Faults(wave_max=wave_max))
    for pieces in (1, 10, 100, 1_000):
        tally.bus.publish(BY_DAY.name, DaySale(day="2026-01-31", pieces=pieces, at=NOON))
    last = tally.broker.records(BY_DAY.name)[-1]
    window = Window(last.offset(), (0,))
    place = BY_DAY.name, last.partition()
    tally.broker.groups[GROUP].committed[place] = 0, finished_offsets.encode(window)

    tally.run()
    assert tally.days == {"2026-01-31": (1_001, 2)}
    assert tally.broker.groups[GROUP].committed[place] == (tally.broker.end(place), "")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("way", ["bulk", "usual"])
def test_stores_that_fail_at_any_call_lose_nothing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, way: str, seed: int
) -> None:
    """Damaged, or their disk away: what was folded in the same turn before is folded again."""
    if way == "usual":
        request.getfixturevalue("usual_way")
    draw = random.Random(seed)
    with monkeypatch.context() as failing:
        for name in ("known", "values", "apply"):
            failing.setattr(MemoryStore, name, unreliable(getattr(MemoryStore, name), draw))
        tally = Tally(faults=UNKIND, workers=2, seed=seed)
        expected, pieces = sold(tally, 60)
    assert tally.shops == tally.changelog == expected
    assert tally.days == {"2026-01-31": (pieces, 60)}


def test_damage_in_a_later_wave_puts_the_earlier_one_back(
    usual_way: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally()
    tally.sell("north", "r0", 1)
    tally.run()
    known, calls = MemoryStore.known, []

    def damaged(store: MemoryStore, facts: Any) -> set[bytes]:
        calls.append(facts)
        if len(calls) == 2:
            raise StoreDamaged("a page")
        return known(store, facts)

    monkeypatch.setattr(MemoryStore, "known", damaged)
    tally.sell("north", "r1", 3)
    tally.sell("north", "r2", 4)
    tally.run()
    assert len(calls) > 2
    assert tally.shops == tally.changelog == {"north": (8, 3)}
    assert tally.days == {"2026-01-31": (8, 3)}


def test_no_task_shows_a_position_that_is_not_committed_after_a_lost_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally = Tally()
    for number in range(12):
        tally.sell(f"shop-{number}", f"a{number}")
    tally.run()
    for number in range(12):
        tally.sell(f"shop-{number}", f"b{number}")
    tally.turn()

    renew, lost = MemoryClient.renew, []

    def renewed(client: MemoryClient, error: Any) -> None:
        renew(client, error)
        lost.append(error)

    monkeypatch.setattr(MemoryClient, "renew", renewed)
    monkeypatch.setattr(
        tally.broker,
        "struck",
        lambda *faults: Fault.ABORTED_UNANSWERED if Fault.ABORTED in faults and not lost else None,
    )
    committed = tally.broker.groups[GROUP].committed
    inputs = {"shops": BY_SHOP.name, "days": BY_DAY.name}
    for _ in range(8):
        tally.turn()
        for task in tally.workers[0].local.tasks.values():
            offset, _metadata = committed.get((inputs[task.table], task.partition), (0, ""))
            assert task.state is not TaskState.ACTIVE or task.input <= offset
    assert lost


def unreliable(call: Callable[..., Any], draw: random.Random) -> Callable[..., Any]:
    def called(store: MemoryStore, argument: Any) -> Any:
        chance = draw.random()
        if chance < 0.03:
            raise StoreDamaged("a page")
        if chance < 0.06:
            raise Unavailable("the disk is full", resource="state store")
        return call(store, argument)

    return called
