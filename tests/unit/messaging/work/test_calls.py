"""
A bounded pool of calls: as many as it may, an exception is an answer, and its owner's thread judges
all of them.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orderflow.messaging.work.calls import Calls, InlineCalls


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
