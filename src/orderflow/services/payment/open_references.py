"""
Which webhooks have something to settle: asked for many of them in one statement.

Almost every webhook repeats what an answer has said before, so almost every one of them would be a
transaction that reads nothing. While one statement is on its way the next webhooks gather.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from starlette.concurrency import run_in_threadpool

Read = Callable[[list[str]], set[UUID]]
"""Blocks. Those of these ids that are open; raises Transient."""

REFERENCES_MAX = 1_000
"""In one statement."""


class OpenReferences:
    """For the event loop of one API. `read` is called on a thread, one batch at a time."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: list[tuple[str, asyncio.Future[bool]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def contain(self, reference: str) -> bool:
        """
        Whether this is a payment that is unknown or a refund that is owed, as of some moment after
        the call. Raises Transient.
        """
        try:
            UUID(reference)
        except ValueError:
            return False

        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((reference, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:REFERENCES_MAX]
                del self._waiting[:REFERENCES_MAX]
                await self._answer(batch)
        finally:
            self._asking = None

    async def _answer(self, batch: list[tuple[str, asyncio.Future[bool]]]) -> None:
        try:
            known = await run_in_threadpool(self._read, [reference for reference, _ in batch])
        except Exception as error:  # noqa: BLE001 - everybody who waits gets it
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return

        for reference, answer in batch:
            # One whose client went away waits no more.
            if not answer.done():
                answer.set_result(UUID(reference) in known)
