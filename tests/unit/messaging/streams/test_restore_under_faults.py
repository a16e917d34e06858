"""
Whatever fails in the midst of a restore, the store is complete at its end: what was read and not
written is read again.
"""

from __future__ import annotations

import pytest
from tests.support.sales import Tally

from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.streams.local_state import TaskState
from orderflow.messaging.streams.store.memory_store import MemoryStore, MemoryStores
from orderflow.messaging.streams.store.store import Changes, StoreDamaged
from orderflow.messaging.testing.bus import Faults

FULL = Unavailable("the disk is full", resource="state store")
DAMAGED = StoreDamaged("a checksum does not fit")
WRITES = 24
"""More than the restore below has: the last parameters fail nothing."""


class Disk:
    """Fails the `nth` write of all stores, once."""

    def __init__(self, nth: int, failure: OrderflowError) -> None:
        self.nth = nth
        self.failure = failure
        self.writes = 0

    def plug_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = MemoryStore.apply

        def apply(store: MemoryStore, changes: Changes) -> None:
            self.writes += 1
            if self.writes == self.nth:
                raise self.failure
            real(store, changes)

        monkeypatch.setattr(MemoryStore, "apply", apply)


def emptied() -> Tally:
    """A worker that has to restore all that it had."""
    tally = Tally(faults=Faults(wave_max=5))
    for number in range(40):
        tally.sell(f"shop-{number % 10}", f"r{number}", number + 1)
    tally.run()

    (worker,) = tally.workers
    worker.stop()
    worker.stores.delete()
    worker.piece_max = 10
    return tally


def totals() -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    shops: dict[str, tuple[int, int]] = {}
    for number in range(40):
        pieces, sales = shops.get(f"shop-{number % 10}", (0, 0))
        shops[f"shop-{number % 10}"] = pieces + number + 1, sales + 1
    return shops, {"2026-01-31": (sum(range(41)), 40)}


@pytest.mark.parametrize("failure", [FULL, DAMAGED], ids=["full", "damaged"])
@pytest.mark.parametrize("nth", range(1, WRITES))
def test_what_a_store_refused_is_read_again(
    monkeypatch: pytest.MonkeyPatch, nth: int, failure: OrderflowError
) -> None:
    tally = emptied()
    Disk(nth, failure).plug_in(monkeypatch)
    tally.workers[0].restart()
    tally.run()
    assert_complete(tally)


@pytest.mark.parametrize("nth", range(1, WRITES, 3))
def test_a_store_that_is_damaged_while_the_brokers_are_away_is_restored_when_they_are_back(
    monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    tally = emptied()
    Disk(nth, DAMAGED).plug_in(monkeypatch)
    real = MemoryStores.set_aside

    def set_aside(stores: MemoryStores, name: str, why: str) -> MemoryStore:
        tally.broker.away = True
        return real(stores, name, why)

    monkeypatch.setattr(MemoryStores, "set_aside", set_aside)
    tally.workers[0].restart()
    tally.turn(30)
    tally.broker.away = False
    tally.run()
    assert_complete(tally)


def test_a_damaged_store_that_can_not_be_moved_yet_is_restored_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally = emptied()
    Disk(4, DAMAGED).plug_in(monkeypatch)
    refusals = iter([FULL, FULL])
    real = MemoryStores.set_aside

    def set_aside(stores: MemoryStores, name: str, why: str) -> MemoryStore:
        for refusal in refusals:
            raise refusal
        return real(stores, name, why)

    monkeypatch.setattr(MemoryStores, "set_aside", set_aside)
    tally.workers[0].restart()
    tally.run()
    assert_complete(tally)
    assert len(tally.workers[0].stores.aside) == 1


def assert_complete(tally: Tally) -> None:
    shops, days = totals()
    assert (tally.shops, tally.days) == (shops, days)
    tasks = tally.workers[0].local.tasks.values()
    assert [task.state for task in tasks] == [TaskState.ACTIVE] * 6

    # The facts are there too: what comes again does not count.
    for number in range(40):
        tally.sell(f"shop-{number % 10}", f"r{number}", number + 1)
    tally.run()
    assert (tally.shops, tally.days) == (shops, days)
