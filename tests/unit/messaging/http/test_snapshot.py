"""Readiness is answered from what was found out a moment ago, and says how long ago that was."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

import msgspec

from orderflow.messaging.http import health
from orderflow.messaging.http.snapshot import STALE_AFTER_S, Snapshot
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.reasons import Degraded, Reasons


def answer(reasons: Reasons, path: str = "/readyz") -> tuple[int, bytes]:
    """Status and body of GET `path`, answered without waiting for anything."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [],
    }

    # Without an event loop: the first thing to be waited for would be the test's failure.
    coroutine = cast("Coroutine[Any, Any, None]", health.application(reasons)(scope, receive, send))
    with suppress(StopIteration):
        coroutine.send(None)
        raise AssertionError("it waits for something")
    return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent)


def said(reasons: Reasons) -> tuple[int, dict[str, Any]]:
    status, body = answer(reasons)
    return status, msgspec.json.decode(body)


def test_liveness_needs_neither_thread_nor_snapshot() -> None:
    def never() -> list[str]:
        raise AssertionError

    assert answer(never, "/livez") == (200, b"ok\n")


def test_before_the_first_check_a_process_is_starting() -> None:
    status, body = said(Snapshot(list, clock=MemoryClock()))
    assert (status, body["ready"], body["reasons"]) == (503, False, ["starting"])


def test_an_answer_asks_nobody_and_says_how_old_it_is() -> None:
    clock, asked = MemoryClock(), list[str]()

    def reasons() -> list[str]:
        asked.append("once")
        return []

    snapshot = Snapshot(reasons, clock=clock)
    snapshot.check()
    clock.advance(3)
    for _ in range(5):
        status, body = said(snapshot)
    assert (status, body) == (200, {"ready": True, "reasons": [], "degraded": [], "age_s": 3.0})
    assert asked == ["once"]


def test_a_snapshot_that_is_too_old_is_a_reason_itself() -> None:
    clock = MemoryClock()
    snapshot = Snapshot(list, clock=clock)
    snapshot.check()
    clock.advance(STALE_AFTER_S + 1)
    status, body = said(snapshot)
    assert (status, body["reasons"]) == (503, ["readiness: was not checked for 11 s"])


def test_who_waits_for_a_broker_is_ready_and_says_what_it_waits_for() -> None:
    status, body = said(lambda: [Degraded("listener parcels: broker: does not answer")])
    assert (status, body["ready"], body["reasons"]) == (200, True, [])
    assert body["degraded"] == ["listener parcels: broker: does not answer"]


def test_a_check_that_raises_is_a_reason_and_the_next_one_is_asked() -> None:
    answers: list[list[str]] = [[], []]
    failed = threading.Event()

    def reasons() -> list[str]:
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError
        return answers[0]

    snapshot = Snapshot(reasons)
    assert snapshot.check() == ["readiness: can't be checked"]
    snapshot.start()
    eventually(lambda: snapshot() == [], within_s=10)
    snapshot.close()
