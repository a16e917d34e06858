"""
A log that does not have the offset at which its group stands: nothing is dropped in silence, and
all that is there is handled.
"""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.memory_listener import ASKED, GROUP, MemoryListener

from orderflow.messaging.container.client.out_of_range import LOGS_BEGUN_ANEW, OFFSETS_GONE
from orderflow.messaging.kafka.finished_offsets import Window, encode
from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.telemetry import Counter as Metric
from orderflow.messaging.testing.memory_database import MemoryDatabase

KEYS = "abcdefghijkl"
BOTH = pytest.mark.parametrize("with_database", [False, True])


def listening(*, with_database: bool) -> MemoryListener:
    return MemoryListener(database=MemoryDatabase() if with_database else None)


def places(listener: MemoryListener) -> list[tuple[str, int]]:
    return listener.broker.places([ASKED.name])


def move_group(listener: MemoryListener, *, beyond: int) -> None:
    """Commit offsets that the logs do not have, as an operator's mistake or a lost disk does."""
    for place in places(listener):
        offset = listener.broker.end(place) + beyond
        listener.broker.groups[GROUP].committed[place] = (offset, "")


def counted(metric: Metric) -> float:
    return metric.labels("probe")._value.get()  # type: ignore[no-any-return]


@BOTH
def test_a_group_beyond_the_end_of_the_log_handles_all_that_comes(*, with_database: bool) -> None:
    listener = listening(with_database=with_database)
    before = counted(LOGS_BEGUN_ANEW)
    move_group(listener, beyond=1_000)
    for key in KEYS:
        listener.ask(key, 0)
    listener.run()
    assert listener.told == {key: [0] for key in KEYS}
    assert counted(LOGS_BEGUN_ANEW) == before + 3
    assert all(
        listener.broker.groups[GROUP].committed[place][0] <= listener.broker.end(place)
        for place in places(listener)
    )


def test_what_is_read_again_from_a_log_begun_anew_is_absorbed_by_the_inbox() -> None:
    listener = listening(with_database=True)
    for key in KEYS:
        listener.ask(key, 0)
    listener.run()
    listener.workers[0].stop()
    move_group(listener, beyond=1_000)
    for key in KEYS:
        listener.ask(key, 1)
    listener.workers[0].restart()
    listener.run()
    assert listener.told == {key: [0, 1] for key in KEYS}
    assert set(Counter(listener.causes).values()) == {1}


@BOTH
def test_a_log_that_is_cut_under_a_running_worker_is_read_again_from_its_beginning(
    *, with_database: bool
) -> None:
    listener = listening(with_database=with_database)
    for number in range(3):
        for key in KEYS:
            listener.ask(key, number)
    listener.run()
    for place in places(listener):
        listener.broker.cut(place, 1)
    for key in KEYS:
        listener.ask(key, 3)
    listener.run()
    assert {key: numbers[-1] for key, numbers in listener.told.items()} == dict.fromkeys(KEYS, 3)


@BOTH
def test_offsets_that_retention_took_before_they_were_read_are_counted_and_the_rest_is_handled(
    *, with_database: bool
) -> None:
    listener = listening(with_database=with_database)
    before = counted(OFFSETS_GONE)
    listener.turn()
    listener.workers[0].stop()
    listener.ask("a", *range(10))
    place = (ASKED.name, listener.message("a", 0).partition())
    listener.broker.groups[GROUP].committed[place] = (2, "")
    listener.broker.delete_before(place, 6)
    listener.workers[0].restart()
    listener.run()
    assert listener.told == {"a": [6, 7, 8, 9]}
    assert counted(OFFSETS_GONE) == before + 4


def test_waiting_offsets_that_retention_took_leave_the_window_although_no_record_comes() -> None:
    listener = listening(with_database=True)
    listener.turn()
    listener.workers[0].stop()
    listener.ask("a", *range(10))
    place = (ASKED.name, listener.message("a", 0).partition())
    listener.broker.groups[GROUP].committed[place] = (1, encode(Window(10, (1, 4))))
    listener.broker.delete_before(place, 10)
    listener.workers[0].restart()
    listener.turn(10)
    assert listener.broker.groups[GROUP].committed[place] == (10, "")


def test_a_record_that_waits_is_kept_when_the_log_deletes_it() -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(60.0, 60.0)))
    listener.ask("a", 0, behaviour="fail")
    listener.turn(3)
    place = (ASKED.name, listener.message("a", 0).partition())
    listener.broker.delete_before(place, listener.broker.end(place))
    listener.run()
    assert len(listener.dead) == 1
