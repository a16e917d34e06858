"""Stores are restored from their changelogs, and what does not fit them is never trusted."""

from __future__ import annotations

import pytest
from tests.support.sales import BY_SHOP, GROUP, SHOPS, Tally

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.streams.local_state import TaskState
from orderflow.messaging.streams.store.store import Changes, StoreTaken
from orderflow.messaging.testing.bus import Fault, Faults, Worker
from orderflow.messaging.testing.memory_changelog import MemoryChangelogReader


def filled(sales: int = 40) -> Tally:
    tally = Tally(faults=Faults(wave_max=5))
    for number in range(sales):
        tally.sell(f"shop-{number % 10}", f"r{number}", number + 1)
    tally.run()
    return tally


def restart(worker: Worker, *, without_state: bool = False) -> None:
    worker.stop()
    if without_state:
        worker.stores.delete()
    worker.restart()


def test_a_table_is_restored_from_its_changelog_alone() -> None:
    tally = filled()
    before = tally.shops, tally.days
    restart(tally.workers[0], without_state=True)
    tally.run()
    assert (tally.shops, tally.days) == before


def test_a_restarted_slot_keeps_its_store_and_reads_only_what_it_misses() -> None:
    tally = filled()
    worker = tally.workers[0]
    before = tally.shops
    restart(worker)
    tally.turn(1)
    total = sum(task.progress.total for task in worker.local.tasks.values() if task.progress)
    tally.run()
    assert tally.shops == before
    # The last record and a marker, at most, for each of the three changelogs of a partition.
    assert total <= 18
    assert worker.stores.aside == []


def test_while_a_store_is_restored_nothing_of_its_input_is_read_and_the_worker_says_how_far() -> (
    None
):
    tally = filled()
    worker = tally.workers[0]
    restart(worker, without_state=True)
    worker.piece_max = 2
    worker.restart()
    tally.sell("shop-1", "new", 100)
    tally.turn(3)

    states = {task.state for task in worker.local.tasks.values()}
    assert TaskState.RESTORING in states
    (first, *_) = [reason for reason in tally.reasons() if "restoring" in reason]
    assert "records" in first
    assert "a second" in first
    assert all(
        p.paused
        for (topic, _), p in worker.client.partitions.items()
        if topic == BY_SHOP.name and p.restoring
    )

    tally.run()
    assert tally.shops["shop-1"] == tally.changelog["shop-1"]
    assert tally.reasons() == []


def test_a_restore_ends_at_a_position_not_at_a_last_record() -> None:
    """Behind the last record are markers, and records of an aborted transaction."""
    tally = filled()
    (message, *_) = tally.broker.records(SHOPS.name)
    for partition in range(3):
        place = (SHOPS.name, partition)
        tally.broker.append_aborted([(SHOPS.name, message.key(), message.value(), [])])
        assert tally.broker.log(place)[-1] is None
    before = tally.shops
    restart(tally.workers[0], without_state=True)
    tally.run()
    assert tally.shops == before
    assert all(t.state is TaskState.ACTIVE for t in tally.workers[0].local.tasks.values())


def test_a_restore_is_given_up_when_its_partition_is_taken_away() -> None:
    tally = Tally(workers=2, faults=Faults(wave_max=5))
    for number in range(40):
        tally.sell(f"shop-{number % 10}", f"r{number}", number + 1)
    tally.run()
    before = tally.shops

    first, second = tally.workers
    first.stop()
    second.stores.delete()
    second.piece_max = 1
    second.restart()
    tally.turn(4, worker=1)
    assert len(second.local.tasks) == 6
    first.restart()
    for worker in (0, 1) * 3:
        tally.turn(worker=worker)
    tally.run()
    assert len(first.local.tasks) + len(second.local.tasks) == 6
    assert tally.shops == before


def test_a_store_of_another_topic_of_that_name_is_set_aside() -> None:
    tally = filled()
    before = tally.shops
    tally.broker.topic_ids[SHOPS.name] = "made again"
    restart(tally.workers[0])
    tally.run()
    assert {why for _name, why in tally.workers[0].stores.aside} == {
        f"topic {SHOPS.name} was deleted and made again since"
    }
    assert tally.shops == before


def test_a_store_beyond_the_end_of_its_changelog_is_set_aside() -> None:
    tally = filled()
    worker = tally.workers[0]
    worker.stop()
    for partition in range(3):
        tally.broker.cut((SHOPS.name, partition), 1)
    worker.restart()
    tally.turn(2)
    assert {name for name, why in worker.stores.aside if "which ends at 1" in why}


def test_a_damaged_store_is_set_aside_and_rebuilt_also_while_it_is_used() -> None:
    tally = filled()
    worker = tally.workers[0]
    before = tally.shops
    for name in worker.stores.names:
        worker.stores.damage(name)
    # To every partition: a store is looked at when its input has a record.
    for shop in before:
        tally.sell(shop, f"new-{shop}", 100)
    tally.run()
    after = {shop: (pieces + 100, sales + 1) for shop, (pieces, sales) in before.items()}
    assert tally.shops == after == tally.changelog
    assert worker.stores.aside
    assert tally.reasons() == []


def test_a_worker_that_was_replaced_writes_no_store() -> None:
    """A process that was stopped between its commit and its store must not write older values."""
    tally = filled()
    worker = tally.workers[0]
    old, _why = worker.stores.open("shops-1")
    new, _why = worker.stores.open("shops-1")
    new.apply(Changes(values={b"shop": b"new"}, position=new.position))
    with pytest.raises(StoreTaken):
        old.apply(Changes(values={b"shop": b"old"}, position=old.position))
    assert new.values([b"shop"]) == {b"shop": b"new"}


def test_topics_with_unequal_partitions_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {BY_SHOP.name: 4}
    monkeypatch.setattr(
        MemoryChangelogReader,
        "partitions",
        lambda _self, topics: {topic: counts.get(topic, 3) for topic in topics},
    )
    with pytest.raises(ConfigurationError, match=rf"{BY_SHOP.name} has 4, {SHOPS.name} has 3"):
        Tally().run()


def test_a_restore_waits_for_the_brokers_and_says_so() -> None:
    tally = filled()
    worker = tally.workers[0]
    before = tally.shops
    restart(worker, without_state=True)
    worker.piece_max = 1
    worker.restart()
    tally.turn(2)
    tally.broker.away = True
    tally.turn(3)
    assert any("broker: away" in reason for reason in tally.reasons())
    tally.broker.away = False
    tally.run()
    assert tally.shops == before


def test_the_input_of_a_task_is_what_its_group_has_committed() -> None:
    tally = filled()
    committed = tally.broker.groups[GROUP].committed
    for (table, number), task in tally.workers[0].local.tasks.items():
        if table == "shops":
            assert task.input == committed[BY_SHOP.name, number][0]
            assert task.reader.get(b"none")[1].input <= task.input


def test_a_store_whose_last_commit_was_undone_by_the_brokers_is_set_aside() -> None:
    """They had acknowledged it: the store is ahead of its changelog, and nobody else knows."""
    tally = filled()
    before, worker = tally.shops, tally.workers[0]
    tally.sell("shop-1", "undone", 100)
    tally.turn()
    tally.broker.planned.append(Fault.UNDONE)
    for _ in range(4):
        tally.turn()
    tally.sell("shop-2", "lost producer", 1)
    tally.run()
    pieces, sales = before["shop-1"]
    assert tally.shops == tally.changelog
    assert tally.shops["shop-1"] == (pieces + 100, sales + 1)
    assert sum(total for total, _sales in tally.days.values()) == sum(
        total for total, _sales in tally.shops.values()
    )
    assert worker.stores is not None
