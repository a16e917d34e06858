"""Waiting for what other services will say of an order: one question to the database for all who wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from starlette.concurrency import run_in_threadpool

from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.services.order.model import Order

LOOK_EVERY_S = 0.02
SHARE = 0.2
"""At most this share of the time goes into looking, however many wait."""

Look = Callable[[Sequence[OrderId]], dict[OrderId, Order]]
Waiter = tuple[OrderId, Callable[[Order], bool], "asyncio.Future[Order | None]"]


class Watching:
    """
    Belongs to one event loop. `look` reads orders as they are now, on a thread; a database that is away is asked again.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._waiters: list[Waiter] = []
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def until(
        self, order: Order, settled: Callable[[Order], bool], *, within_s: float
    ) -> Order | None:
        """The order as soon as it is `settled`; None if it is not within that time, or the process is to stop."""
        if settled(order):
            return order
        if within_s <= 0 or self._closed:
            return None
        waiter: Waiter = (order.order_id, settled, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            async with asyncio.timeout(within_s):
                return await waiter[2]
        except TimeoutError:
            return None
        finally:
            self._waiters.remove(waiter)

    def close(self) -> None:
        """Let nobody wait any longer: each gets None."""
        self._closed = True
        for _, _, future in self._waiters:
            if not future.done():
                future.set_result(None)

    async def _keep_looking(self) -> None:
        while self._waiters:
            began = time.monotonic()
            waiting = list(self._waiters)
            try:
                found = await run_in_threadpool(
                    self._look, list({order_id for order_id, _, _ in waiting})
                )
            except Transient:
                found = {}
            for order_id, settled, future in waiting:
                if not future.done() and order_id in found and settled(found[order_id]):
                    future.set_result(found[order_id])
            await asyncio.sleep(max(LOOK_EVERY_S, (time.monotonic() - began) / SHARE))
