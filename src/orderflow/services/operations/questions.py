"""
Questions that take long, on threads of their own: neither the event loop nor the threads of short
requests wait for a broker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from orderflow.messaging.http import problems

T = TypeVar("T")

Work = Callable[[], Any]


class Questions:
    """
    At most `threads` run, at most `waiting_max` wait for a thread; one more is 503 at once.

    `ask` from the event loop. Threads are daemons: a process that must end waits for no broker.
    """

    def __init__(self, name: str, *, threads: int, waiting_max: int) -> None:
        self._name = name
        self._room = threading.BoundedSemaphore(threads + waiting_max)
        self._tasks: SimpleQueue[tuple[Future[Any], Work] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Begin nothing more. What runs ends with the process."""
        for _ in self._threads:
            self._tasks.put(None)

    async def ask(self, work: Callable[[], T], *, within_s: float, late: str) -> T:
        """
        What `work` returns, or raises. Past `within_s` a problem (503) that says `late`: work that
        had not begun never does; work that had goes on, and nobody gets its answer.
        """
        if not self._room.acquire(blocking=False):
            raise problems.unavailable(f"too many questions about {self._name} wait already")
        future: Future[T] = Future()
        self._tasks.put((future, work))

        waiting = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waiting}, timeout=within_s)
        if not done:
            future.cancel()
            # An error that comes later is nobody's: the client has been told to ask again.
            waiting.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise problems.unavailable(late)
        return waiting.result()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, work = task
            try:
                if future.set_running_or_notify_cancel():
                    _settle(future, work)
            finally:
                self._room.release()


def _settle(future: Future[Any], work: Work) -> None:
    try:
        answer = work()
    except BaseException as error:  # noqa: BLE001 - whoever asked gets it
        future.set_exception(error)
    else:
        future.set_result(answer)
