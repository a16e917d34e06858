"""
A bounded pool of calls: as many as it may, an exception is an answer, and its owner's thread judges
all of them.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from orderflow.messaging.work.calls import Calls, InlineCalls, LoopCalls, calls_of, driven

WHOSE: ContextVar[str] = ContextVar("whose", default="nobody")


@pytest.mark.parametrize("kind", [Calls, InlineCalls])
def test_every_call_ends_once_with_its_answer_or_its_exception(kind: type[Calls[int]]) -> None:
    def call(task: int) -> int:
        if task % 3 == 0:
            raise ValueError(task)
        return 10 * task

    calls = kind(call, 4)
    for number in range(12):
        calls.submit(number, number)
    ended: list[Any] = []
    while calls.running:
        ended += calls.collect(within_s=5)
    calls.close()
    assert sorted(item for item, *_ in ended) == list(range(12))
    _are_judged(ended)


def _are_judged(ended: list[Any]) -> None:
    for item, task, answer, error in ended:
        assert item == task
        assert (answer is None) == (item % 3 == 0) == isinstance(error, ValueError)


def test_no_more_than_its_bound_run_at_a_time_and_room_says_how_many_may() -> None:
    lock, running, most = threading.Lock(), 0, 0
    go_on = threading.Semaphore(0)
    began = threading.Semaphore(0)

    def call(_task: None) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        began.release()
        go_on.acquire()
        with lock:
            running -= 1

    calls: Calls[int] = Calls(call, 3)
    assert calls.room == 3
    for number in range(5):
        calls.submit(number, None)
    assert calls.room == -2
    for _ in range(3):
        began.acquire(timeout=5)
    go_on.release(5)
    ended = 0
    while ended < 5:
        ended += len(calls.collect(within_s=5))
    calls.close()
    assert most == 3
    assert (calls.room, calls.running) == (3, 0)


def test_inline_calls_have_ended_when_submit_returns() -> None:
    calls: InlineCalls[str] = InlineCalls(lambda task: task.upper(), 2)
    calls.submit("item", "task")
    assert calls.running == 1
    assert calls.collect() == [("item", "task", "TASK", None)]
    assert calls.running == 0


def ended_all(calls: Calls[Any]) -> list[Any]:
    ended: list[Any] = []
    while calls.running:
        got = calls.collect(within_s=5)
        assert got, "a call never ended"
        ended += got
    return ended


def test_on_an_event_loop_every_call_ends_once_and_all_at_a_time() -> None:
    together = asyncio.Barrier(12)

    async def call(task: int) -> int:
        await together.wait()
        if task % 3 == 0:
            raise ValueError(task)
        return 10 * task

    calls = calls_of(call, 12)
    assert isinstance(calls, LoopCalls)
    for number in range(12):
        calls.submit(number, number)
    assert calls.room == 0
    ended = ended_all(calls)
    calls.close()
    assert sorted(item for item, *_ in ended) == list(range(12))
    _are_judged(ended)
    assert calls.room == 12


def test_calls_submitted_while_the_loop_empties_its_queue_are_made_too() -> None:
    async def call(task: int) -> int:
        return task

    calls: LoopCalls[int] = LoopCalls(call, 20_000)
    for number in range(20_000):
        calls.submit(number, number)
    assert len(ended_all(calls)) == 20_000
    calls.close()


def test_calls_that_run_end_before_the_loop_does() -> None:
    began, go_on = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def call(_task: None) -> str:
        loops.append(asyncio.get_running_loop())
        began.set()
        await go_on.wait()
        return "done"

    calls: LoopCalls[str] = LoopCalls(call, 1)
    calls.submit("item", None)
    assert began.wait(5)
    calls.close()
    loops[0].call_soon_threadsafe(go_on.set)
    assert ended_all(calls) == [("item", None, "done", None)]
    waiting = threading.Event()
    for _ in range(500):
        if loops[0].is_closed():
            break
        waiting.wait(0.01)
    assert loops[0].is_closed()


def test_a_call_sees_the_context_of_its_submitting() -> None:
    async def on_loop(_task: None) -> str:
        return WHOSE.get()

    for call in (on_loop, lambda _task: WHOSE.get()):
        calls = calls_of(call, 4)
        for name in ("anna", "bert"):
            token = WHOSE.set(name)
            calls.submit(name, None)
            WHOSE.reset(token)
        assert all(item == answer for item, _, answer, _ in ended_all(calls))
        calls.close()


def test_without_a_loop_a_coroutine_that_waits_for_nothing_has_its_result() -> None:
    async def call(task: str) -> str:
        return task.upper()

    async def waits(_task: str) -> None:
        await asyncio.sleep(0)

    calls: InlineCalls[str] = InlineCalls(call, 2)
    calls.submit("item", "task")
    assert calls.collect() == [("item", "task", "TASK", None)]
    with pytest.raises(RuntimeError, match="needs an event loop"):
        driven(waits("task"))
