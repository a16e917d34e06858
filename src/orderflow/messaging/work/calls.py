"""
Calls to somebody outside, many at a time, on threads that share two queues with their owner and
nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Of = TypeVar("Of")
"""What a call is made for: a record, a customer."""

Ended = tuple[Of, Any, Any, Exception | None]
"""
What the call was for, its task, its answer, and the exception that the call raised instead of an
answer.
"""


class Calls(Generic[Of]):
    """
    A bounded pool of threads. Calls submitted while `calls_max` run wait in the pool's queue; an
    owner who submits no more than `room` has none waiting.

    Threads are daemons: a process that must end does not wait for a call's time-out. A call sees
    the context variables of its submitting.
    """

    def __init__(self, call: Callable[[Any], Any], calls_max: int) -> None:
        self._call = call
        self._calls_max = calls_max
        self._tasks: SimpleQueue[tuple[Context, Of, Any] | None] = SimpleQueue()
        self._finished: SimpleQueue[Ended[Of]] = SimpleQueue()
        self._threads = 0
        self.running = 0

    @property
    def room(self) -> int:
        """How many more calls may run."""
        return self._calls_max - self.running

    def submit(self, item: Of, task: Any) -> None:
        """Make the call for `item` on a thread of the pool. `collect` returns its answer."""
        self.running += 1
        self._start(item, task)

    def collect(self, *, within_s: float = 0.0) -> list[Ended[Of]]:
        """
        The calls that have ended since the last time. If none has, wait at most `within_s` for the
        first.
        """
        ended: list[Ended[Of]] = []
        try:
            if within_s:
                ended.append(self._finished.get(timeout=within_s))
            while True:
                ended.append(self._finished.get_nowait())
        except Empty:
            self.running -= len(ended)
            return ended

    def close(self) -> None:
        """End the threads, each after the call that it is making."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _start(self, item: Of, task: Any) -> None:
        if self._threads < min(self.running, self._calls_max):
            self._threads += 1
            threading.Thread(target=self._work, name=f"call-{self._threads}", daemon=True).start()
        self._tasks.put((copy_context(), item, task))

    def _work(self) -> None:
        while (submitted := self._tasks.get()) is not None:
            context, item, task = submitted
            self._finished.put(context.run(self._made, item, task))

    def _made(self, item: Of, task: Any) -> Ended[Of]:
        try:
            return item, task, self._call(task), None
        except Exception as error:  # noqa: BLE001 - the owner's thread judges it
            return item, task, None, error


class InlineCalls(Calls[Of]):
    """
    Makes each call on its owner's thread, inside `submit`: in an order that a test can repeat, and
    without the price of threads where calls take no time.
    """

    def _start(self, item: Of, task: Any) -> None:
        self._finished.put(self._made(item, task))
