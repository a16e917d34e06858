"""Calls to somebody outside, many at a time, on threads that touch nothing of their owner's but two queues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Of = TypeVar("Of")
"""What a call is made for: a record, a customer."""

Ended = tuple[Of, Any, Any, Exception | None]
"""What it was for, task, answer, and instead of an answer what the call raised."""


class Calls(Generic[Of]):
    """
    A bounded pool. What is submitted while `calls_max` run waits for its turn; a caller who keeps `running` below that
    has nothing queue in here.

    Threads are daemons: a process that must end does not wait for somebody else's time-out. With `calls_max` 0 there
    are none, and a call is made where it is submitted.
    """

    def __init__(self, call: Callable[[Any], Any], calls_max: int) -> None:
        self._call = call
        self._calls_max = calls_max
        self._tasks: SimpleQueue[tuple[Of, Any] | None] = SimpleQueue()
        self._finished: SimpleQueue[Ended[Of]] = SimpleQueue()
        self._threads = 0
        self.running = 0

    @property
    def room(self) -> int | None:
        """How many more may run; None when that is no question."""
        return self._calls_max - self.running if self._calls_max else None

    def submit(self, item: Of, task: Any) -> None:
        self.running += 1
        if not self._calls_max:
            self._finished.put(self._made(item, task))
            return
        if self._threads < min(self.running, self._calls_max):
            self._threads += 1
            threading.Thread(target=self._work, name=f"call-{self._threads}", daemon=True).start()
        self._tasks.put((item, task))

    def collect(self, *, within_s: float = 0.0) -> list[Ended[Of]]:
        """What has ended since the last time; if that is nothing, wait for the first at most `within_s`."""
        found: list[Ended[Of]] = []
        try:
            if within_s:
                found.append(self._finished.get(timeout=within_s))
            while True:
                found.append(self._finished.get_nowait())
        except Empty:
            self.running -= len(found)
            return found

    def close(self) -> None:
        for _ in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (asked := self._tasks.get()) is not None:
            self._finished.put(self._made(*asked))

    def _made(self, item: Of, task: Any) -> Ended[Of]:
        try:
            return item, task, self._call(task), None
        except Exception as error:  # noqa: BLE001 - it is judged on the owner's thread
            return item, task, None, error
