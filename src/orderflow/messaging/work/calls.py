"""
Calls to somebody outside, many at a time, away from their owner's thread: each on a thread of a
pool, or all of them on one event loop. They share two queues with their owner and nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from inspect import iscoroutine, iscoroutinefunction
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import uvloop

Of = TypeVar("Of")
"""What a call is made for: a record, a customer."""

Made = TypeVar("Made")

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
        """Make the call for `item`, elsewhere. `collect` returns its answer."""
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
        """End the threads, each after the calls that it is making."""
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
            answer = self._call(task)
            return item, task, driven(answer) if iscoroutine(answer) else answer, None
        except Exception as error:  # noqa: BLE001 - the owner's thread judges it
            return item, task, None, error


class LoopCalls(Calls[Of]):
    """
    All calls on one event loop, on one thread: for a call that is a coroutine function.

    What waits costs no thread and takes nobody's turn. Calls submitted together wake the loop once,
    and those that have ended wait for their owner to collect them: nobody is woken for each.
    """

    def __init__(self, call: Callable[[Any], Any], calls_max: int) -> None:
        super().__init__(call, calls_max)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_woken = False
        self._under_way: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _start(self, item: Of, task: Any) -> None:
        self._tasks.put((copy_context(), item, task))
        if self._loop is None:
            self._loop = uvloop.new_event_loop()
            threading.Thread(
                target=self._turn, args=(self._loop,), name="calls", daemon=True
            ).start()
        # Set back before the queue is emptied: what is put after the last look wakes the loop anew.
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._begin, self._loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        loop.run_until_complete(self._all_ended())
        loop.close()

    async def _all_ended(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_woken = False
        try:
            while (submitted := self._tasks.get_nowait()) is not None:
                context, item, task = submitted
                call = loop.create_task(self._awaited(item, task), context=context)
                self._under_way.add(call)
                call.add_done_callback(self._under_way.discard)
        except Empty:
            pass

    async def _awaited(self, item: Of, task: Any) -> None:
        try:
            ended: Ended[Of] = (item, task, await self._call(task), None)
        except Exception as error:  # noqa: BLE001 - as above
            ended = (item, task, None, error)
        self._finished.put(ended)


class InlineCalls(Calls[Of]):
    """
    Makes each call on its owner's thread, inside `submit`: in an order that a test can repeat, and
    without the price of threads where calls take no time.
    """

    def _start(self, item: Of, task: Any) -> None:
        self._finished.put(self._made(item, task))


class MakeCalls(Protocol):
    """What makes calls, by the function that is called and how many may run at a time."""

    def __call__(self, call: Callable[[Any], Any], calls_max: int, /) -> Calls[Any]: ...


def calls_of(call: Callable[[Any], Any], calls_max: int) -> Calls[Any]:
    """On an event loop if `call` is a coroutine function, else on a pool of threads."""
    kind = LoopCalls if iscoroutinefunction(call) else Calls
    return kind(call, calls_max)


def driven(coroutine: Coroutine[Any, Any, Made]) -> Made:
    """
    The result of a coroutine that waits for nothing, without an event loop.

    Raises RuntimeError if it waits after all.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        made: Made = ended.value
        return made
    coroutine.close()
    raise RuntimeError("this call waits for something: it needs an event loop")
