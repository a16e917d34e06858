"""
Partitions come and go inside `poll`: nothing is lost, nothing is announced twice, order per key
stays.
"""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.memory_listener import ASKED, MemoryListener

from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.testing.bus import Faults
from orderflow.messaging.testing.memory_database import MemoryDatabase

KEYS = "abcdefgh"


def once_each(listener: MemoryListener) -> bool:
    asked = {str(record.metadata.id) for record in listener.bus.records(ASKED.name)}
    return Counter(listener.causes) == Counter(asked)


def test_two_workers_share_the_partitions() -> None:
    listener = MemoryListener(workers=2)
    for _ in range(3):
        listener.turn(worker=0)
        listener.turn(worker=1)
    shares = [worker.client.partitions.keys() for worker in listener.workers]
    assert not shares[0] & shares[1]
    assert len(shares[0] | shares[1]) == 6


def test_what_a_worker_has_queued_of_a_revoked_partition_is_dropped_and_done_by_the_next() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(5.0, 5.0)), workers=2)
    listener.workers[1].stop()
    for key in KEYS:
        listener.ask(key, 0, behaviour="fail")
        listener.ask(key, 1, 2)
    listener.turn(2, worker=0)
    listener.workers[1].restart()
    listener.run()
    assert listener.told == {key: [1, 2] for key in KEYS}
    assert len(listener.dead) == len(KEYS)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("with_database", [False, True])
def test_members_that_are_expelled_and_restart_lose_and_repeat_nothing(
    seed: int, *, with_database: bool
) -> None:
    database = MemoryDatabase() if with_database else None
    listener = MemoryListener(
        database=database,
        workers=3,
        seed=seed,
        faults=Faults(expel=0.1, abort=0.1, unknown=0.1, refuse=0.1, crash=0.1, wave_max=4),
    )
    for number in range(6):
        for key in KEYS:
            listener.ask(key, number)
    listener.run()
    assert listener.told == {key: list(range(6)) for key in KEYS}
    assert once_each(listener)


def test_a_worker_whose_partitions_were_taken_since_its_last_poll_commits_nothing_of_them() -> None:
    listener = MemoryListener(workers=2)
    listener.workers[1].stop()
    listener.turn(2)
    for key in KEYS:
        listener.ask(key, 0)

    def joined_meanwhile(_event: object) -> None:
        listener.workers[1].restart()
        del listener.handler._behave

    listener.handler._behave = joined_meanwhile  # type: ignore[method-assign, assignment]
    listener.turn(worker=0)
    assert listener.told == {}
    listener.run()
    assert once_each(listener)
