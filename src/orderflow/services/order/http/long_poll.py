"""Requests that wait for other services' facts: one query for all orders that are waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from starlette.concurrency import run_in_threadpool

from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.services.order.model import Order

POLL_EVERY_S = 0.02
SHARE = 0.2
"""At most this share of the time goes into queries, however many requests wait."""

WAITERS_MAX = 1_000
"""More than that are not waited for: their requests are answered with 202 at once."""

FindMany = Callable[[Sequence[OrderId]], dict[OrderId, Order]]


class _Waiter(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    order_id: OrderId
    is_settled: Callable[[Order], bool]
    future: asyncio.Future[Order | None]


class LongPoll:
    """
    Waits for orders on behalf of requests. Belongs to one event loop.

    `find_many` reads orders, on a thread. A query that fails with Transient is repeated.
    """

    def __init__(self, find_many: FindMany) -> None:
        self._find_many = find_many
        self._waiters: list[_Waiter] = []
        self._polling: asyncio.Task[None] | None = None
        self._closed = False

    async def until(
        self, order: Order, is_settled: Callable[[Order], bool], *, within_s: float
    ) -> Order | None:
        """
        The order once it `is_settled`; None if that takes longer, if too many wait already, or if
        the process stops.
        """
        if is_settled(order):
            return order
        if within_s <= 0 or self._closed or len(self._waiters) >= WAITERS_MAX:
            return None

        waiter = _Waiter(
            order_id=order.order_id,
            is_settled=is_settled,
            future=asyncio.get_running_loop().create_future(),
        )
        self._waiters.append(waiter)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

        try:
            async with asyncio.timeout(within_s):
                return await waiter.future
        except TimeoutError:
            return None
        finally:
            self._waiters.remove(waiter)

    def close(self) -> None:
        """End all waiting: every request gets None."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_result(None)

    async def _poll(self) -> None:
        while self._waiters:
            began = time.monotonic()
            # A copy: waiters come and go while the query runs.
            waiting = list(self._waiters)
            order_ids = {waiter.order_id for waiter in waiting}
            try:
                orders = await run_in_threadpool(self._find_many, list(order_ids))
            except Transient:
                orders = {}

            for waiter in waiting:
                order = orders.get(waiter.order_id)
                if order and not waiter.future.done() and waiter.is_settled(order):
                    waiter.future.set_result(order)
            await asyncio.sleep(max(POLL_EVERY_S, (time.monotonic() - began) / SHARE))
