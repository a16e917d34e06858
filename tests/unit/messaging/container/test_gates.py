"""
A resource that is away closes its stage: one probe per back-off, nobody charged, everything else
kept alive.
"""

from __future__ import annotations

from tests.support.memory_listener import ASKED, TURN_S, MemoryListener
from tests.support.probe_language import ignored

from orderflow.messaging.container.failures import PROBES_MAX
from orderflow.messaging.container.stages.admission import PAUSE_AFTER_S
from orderflow.messaging.testing.memory_broker import Fault
from orderflow.messaging.testing.memory_database import MemoryDatabase
from orderflow.messaging.work.reasons import split


def test_a_resource_that_is_away_is_probed_with_one_record_and_nobody_is_charged() -> None:
    listener = MemoryListener()
    for key in "abcdef":
        listener.ask(key, 0, behaviour="away")
    listener.turn(60)
    assert listener.handler.sizes[0] == 6
    assert set(listener.handler.sizes[1:]) == {1}
    # 0.1 s doubled up to 5 s: in 15 s that is no more than about ten.
    assert 5 <= len(listener.handler.sizes) <= 12
    assert any("provider" in reason for reason in listener.reasons())

    listener.handler.away = False
    listener.run()
    assert listener.dead == []
    assert sorted(listener.told) == list("abcdef")
    assert listener.reasons() == []


def test_one_record_that_finds_a_resource_away_for_ever_does_not_stop_the_others() -> None:
    """A statement with a wrong name, for one type of event."""
    listener = MemoryListener()
    listener.ask("away", 0, behaviour="away")
    keys = [f"key-{number}" for number in range(10)]
    for key in keys:
        listener.ask(key, 0)
    listener.turn(80)
    assert listener.told == {key: [0] for key in keys}
    assert any("provider" in reason for reason in listener.reasons())
    assert listener.dead == []


def test_while_a_resource_is_away_no_more_is_fetched_than_a_few_probes() -> None:
    listener = MemoryListener()
    for number in range(PROBES_MAX):
        listener.ask(f"key-{number}", 0, behaviour="away")
    listener.turn(2)
    partitions = listener.workers[0].client.partitions.values()
    assert not any(partition.paused for partition in partitions), "it may be away for a moment only"
    listener.turn(round(PAUSE_AFTER_S / TURN_S))
    assert all(partition.paused for partition in partitions)
    listener.handler.away = False
    listener.run()
    listener.turn(2)
    assert not any(partition.paused for partition in listener.workers[0].client.partitions.values())


def test_a_record_that_alone_finds_its_resource_away_lets_those_come_that_are_asked_later() -> None:
    """It is the only one in memory when the gate closes: the next probes need others."""
    listener = MemoryListener()
    listener.ask("a", 0, behaviour="away")
    listener.turn(4)
    for number in range(30):
        listener.ask(f"key-{number}", 0)
    listener.turn(120)
    assert len(listener.told) == 30
    assert "a" not in listener.told
    listener.handler.away = False
    listener.run()
    assert listener.told["a"] == [0]


def test_a_database_that_is_away_rolls_back_and_is_waited_for() -> None:
    database = MemoryDatabase()
    listener = MemoryListener(database=database)
    database.away = True
    for key in "abc":
        listener.ask(key, 0, 1)
    listener.turn(20)
    assert (database.inbox, database.outbox, listener.handler.waves) == (set(), [], [])
    assert any("database" in reason for reason in listener.reasons())
    database.away = False
    listener.run()
    assert sorted(database.effects) == [("effect", (key, n)) for key in "abc" for n in (0, 1)]
    assert listener.dead == []


def test_a_broker_that_is_away_is_named_and_waited_for() -> None:
    listener = MemoryListener()
    listener.ask("a", 0)
    listener.run()
    listener.ask("a", 1)
    listener.broker.away = True
    listener.turn(10)
    assert any("broker" in reason for reason in listener.reasons())
    against, degraded = split(listener.reasons())
    assert (against, bool(degraded)) == ([], True), "it has listened, and comes back by itself"
    listener.broker.away = False
    listener.run()
    assert listener.told == {"a": [0, 1]}
    assert listener.reasons() == []


def test_a_closed_stage_opens_when_its_records_went_to_somebody_else() -> None:
    listener = MemoryListener(workers=2)
    listener.turn(2)
    listener.ask("a", 0, behaviour="away")
    for _ in range(4):
        listener.turn(worker=0)
        listener.turn(worker=1)
    owner = next(w for w in range(2) if any("provider" in r for r in listener.reasons(w)))
    listener.workers[owner].client.expel()
    listener.handler.away = False
    listener.run()
    listener.turn(3, worker=owner)
    assert listener.reasons(0) == listener.reasons(1) == []
    assert listener.told == {"a": [0]}


def test_a_record_queued_twice_for_the_registry_stays_finished() -> None:
    """
    A record whose schema is not met yet waits for the registry. An abort brings the record before
    it up again, so it is queued for the registry a second time, and the second entry must not take
    back that it was skipped: the commit would call it unfinished, and idle lag would never read 0.
    """
    listener = MemoryListener()
    listener.ask("known", 0)
    listener.run()
    listener.bus.registry.available = False
    listener.bus.publish(ASKED.name, ignored("other", 0))
    # The back-off before the next probe grows to seconds.
    listener.turn(40)

    listener.ask("a", 0)
    listener.bus.publish(ASKED.name, ignored("a", 1))
    listener.plan(Fault.ABORTED)
    listener.turn(8)

    listener.bus.registry.available = True
    listener.turn(60)
    assert listener.reasons() == []
    assert listener.told["a"] == [0], "the second transaction announced it"
    for message in listener.bus.records(ASKED.name):
        assert listener.committed(message).unfinished == (), "idle lag reads 0"
