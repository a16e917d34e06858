"""
A worker that is told to stop does a last turn, commits and leaves; what waits stays in the
metadata.
"""

from __future__ import annotations

import threading

import pytest
from tests.support.memory_listener import GROUP, MemoryListener

from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.testing.memory_database import MemoryDatabase


@pytest.mark.parametrize("with_database", [False, True])
def test_what_is_ready_is_handled_and_committed_in_the_last_turn(*, with_database: bool) -> None:
    listener = MemoryListener(database=MemoryDatabase() if with_database else None)
    listener.turn()
    listener.ask("a", 0)
    listener.turn()
    # This turn comes during the rest after the commit: the record is only queued.
    listener.ask("a", 1)
    listener.workers[0].turn()
    listener.workers[0].stop()
    assert listener.told == {"a": [0, 1]}
    assert listener.is_finished("a", 1)
    assert listener.broker.groups[GROUP].members == {}


def test_what_waits_when_a_worker_stops_waits_for_the_next() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(60.0, 60.0)))
    listener.ask("a", 0, behaviour="fail")
    for key in "bcdef":
        listener.ask(key, 0)
    listener.turn(3)
    listener.workers[0].stop()
    listener.handler.waves.clear()
    listener.workers[0].restart()
    listener.turn(3)
    assert listener.handler.waves == [[("a", 0)]]


def test_a_stop_that_waits_for_a_commit_commits_no_record_that_came_meanwhile() -> None:
    """A plain commit is unanswered and a dead letter waits for it, while a record comes."""
    listener = MemoryListener(database=MemoryDatabase())
    listener.turn(2)
    listener.ask("a", 0)
    listener.turn()
    assert listener.workers[0].client.committing
    listener.ask("a", 1, behaviour="dead")
    listener.workers[0].turn()
    listener.ask("a", 2)
    listener.workers[0].stop()
    assert not listener.is_finished("a", 2)
    listener.workers[0].restart()
    listener.run()
    assert listener.told == {"a": [0, 2]}
    assert len(listener.dead) == 1


@pytest.mark.parametrize("with_database", [False, True])
def test_an_end_that_was_polled_moves_no_offset_before_a_turn_admits_it(
    *, with_database: bool
) -> None:
    listener = MemoryListener(database=MemoryDatabase() if with_database else None)
    listener.turn()
    listener.ask("a", 0)
    client = listener.workers[0].client
    polled = client.poll(0, 500)
    assert len(polled.messages) == 1
    assert [end for _partition, end in polled.ends].count(1) == 1
    assert {partition.eof for partition in client.partitions.values()} <= {-1, 0}


def test_a_container_that_is_told_to_stop_at_once_ends_by_itself_and_is_not_ready() -> None:
    listener = MemoryListener()
    stop = threading.Event()
    stop.set()
    container = listener.workers[0].container
    container.run(stop)
    assert container.reasons() == ["listener probe: stopped"]
