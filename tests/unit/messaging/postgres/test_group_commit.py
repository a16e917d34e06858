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


def test_a_lone_client_never_waits_for_company() -> None:
    pace = Pace()
    assert {pace.rest_s(pieces=1, took_s=0.010) for _ in range(5)} == {0.0}
    pace.rest_s(pieces=2, took_s=0.010)
    rests = [pace.rest_s(pieces=1, took_s=0.002) for _ in range(20)]
    assert rests == sorted(rests, reverse=True)
    assert rests[-1] == 0.0


def test_when_others_come_a_rest_lasts_as_long_as_commits_let_it() -> None:
    pace = Pace()
    first, second = (pace.rest_s(pieces=2, took_s=0.002) for _ in range(2))
    assert 0.0 < first < second == Pace.FACTOR * 0.002
    assert pace.rest_s(pieces=2, took_s=5.0) == Pace.REST_S_MAX


def test_after_a_batch_that_is_large_enough_nobody_rests() -> None:
    pace = Pace()
    assert [pace.rest_s(pieces=Pace.ENOUGH, took_s=0.050) for _ in range(3)] == [0.0, 0.0, 0.0]
