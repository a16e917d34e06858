"""A committer that hangs is complained about, and goes on; one on a busy machine rests."""

from __future__ import annotations

import threading

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.postgres import Connection, Cursor
from orderflow.messaging.postgres.group_commit import GroupCommit, Pace
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.turning import TURNS_WITHIN_S


def test_a_committer_that_waits_for_its_database_for_too_long_says_so() -> None:
    clock, hanging, released = MemoryClock(), threading.Event(), threading.Event()
    delivered: list[object] = []

    def connect() -> Connection:
        hanging.set()
        assert released.wait(10)
        raise Unavailable("no answer", resource="database")

    def write(_cursor: Cursor, _batch: list[str]) -> list[str]:
        raise AssertionError("it has no connection")

    committer: GroupCommit[str, str] = GroupCommit(
        connect=connect,
        write=write,
        deliver=lambda outcomes: delivered.extend(token for token, _ in outcomes),
        clock=clock,
    )
    committer.start()
    committer.submit("work", "token")
    assert hanging.wait(10)
    assert committer.reasons() == []
    clock.advance(TURNS_WITHIN_S + 1)
    assert committer.reasons() == ["group commit: has not turned for 46 s, in: commit"]

    released.set()
    eventually(lambda: delivered == ["token"] and not committer.reasons(), within_s=10)
    committer.close()
    assert committer.reasons() == []


def test_a_machine_that_has_time_never_lets_a_piece_wait_for_others() -> None:
    pace = Pace()
    assert [pace.rest_s(pieces=1, took_s=took_s) for took_s in (0.002, 0.003, 0.002, 0.004)] == [
        0.0,
        0.0,
        0.0,
        0.0,
    ]


def test_on_a_busy_machine_small_batches_are_followed_by_a_rest_and_large_ones_are_not() -> None:
    pace = Pace()
    pace.rest_s(pieces=1, took_s=0.002)
    assert 0.0 < pace.rest_s(pieces=2, took_s=0.006) < 0.006
    assert pace.rest_s(pieces=2, took_s=5.0) == Pace.REST_S_MAX
    assert pace.rest_s(pieces=Pace.ENOUGH, took_s=0.050) == 0.0


def test_commits_that_take_longer_for_good_are_what_a_commit_needs() -> None:
    pace = Pace()
    pace.rest_s(pieces=1, took_s=0.001)
    rests = [pace.rest_s(pieces=1, took_s=0.010) for _ in range(500)]
    assert (rests[0], rests[-1]) == (Pace.REST_S_MAX, 0.0)
