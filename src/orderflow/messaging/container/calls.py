"""Calls to somebody outside, many at a time, on threads that touch nothing of the container but two queues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from orderflow.messaging.container.partition import Item

Finished = tuple[Item, Any, Any, Exception | None]
"""Record, task, answer, and instead of an answer what the call raised."""


class Calls:
    """
    A bounded pool. The caller keeps `running` below `calls_max` by itself; nothing queues in here.

    Threads are daemons: a process that must end does not wait for somebody else's time-out. With `calls_max` 0 there
    are none, and a call is made where it is submitted.
    """

    def __init__(self, call: Callable[[Any], Any], calls_max: int) -> None:
        self._call = call
        self._calls_max = calls_max
        self._tasks: SimpleQueue[tuple[Item, Any] | None] = SimpleQueue()
        self._finished: SimpleQueue[Finished] = SimpleQueue()
        self._threads = 0
        self.running = 0

    @property
    def room(self) -> int | None:
        """How many more may run; None when that is no question."""
        return self._calls_max - self.running if self._calls_max else None

    def submit(self, item: Item, task: Any) -> None:
        self.running += 1
        if not self._calls_max:
            self._finished.put(self._made(item, task))
            return
        if self._threads < min(self.running, self._calls_max):
            self._threads += 1
            threading.Thread(target=self._work, name=f"call-{self._threads}", daemon=True).start()
        self._tasks.put((item, task))

    def collect(self) -> list[Finished]:
        """What has ended since the last time; never waits."""
        found: list[Finished] = []
        try:
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

    def _made(self, item: Item, task: Any) -> Finished:
        try:
            return item, task, self._call(task), None
        except Exception as error:  # noqa: BLE001 - it is judged on the container's thread
            return item, task, None, error
