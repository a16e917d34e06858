"""A committer that hangs is complained about, and goes on when what it hangs in ends."""

from __future__ import annotations

import threading

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.postgres import Connection, Cursor
from orderflow.messaging.postgres.group_commit import GroupCommit
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
