"""Webhooks that come together are looked up together; each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID, uuid4

import pytest

from orderflow.messaging.errors import Unavailable
from orderflow.services.payment.open_references import OpenReferences

OPEN = str(uuid4())


class Reading:
    """Answers when it is let go; keeps what it was asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[str]] = []
        self.may_answer = threading.Event()
        self._error = error

    def __call__(self, references: list[str]) -> set[UUID]:
        self.batches.append(references)
        assert self.may_answer.wait(5)
        if self._error is not None:
            raise self._error
        return {UUID(OPEN)}


def test_what_comes_while_one_batch_is_read_is_the_next_batch() -> None:
    others = [str(uuid4()) for _ in range(3)]

    async def ask(reading: Reading) -> list[bool]:
        references = OpenReferences(reading)
        first = asyncio.create_task(references.contain(others[0]))
        while not reading.batches:
            await asyncio.sleep(0)
        later = [asyncio.create_task(references.contain(each)) for each in (*others[1:], OPEN)]
        await asyncio.sleep(0)
        reading.may_answer.set()
        return list(await asyncio.gather(first, *later))

    reading = Reading()
    assert asyncio.run(ask(reading)) == [False, False, False, True]
    assert reading.batches == [[others[0]], [*others[1:], OPEN]]


def test_a_failure_is_everybodys_and_the_next_batch_is_asked_anew() -> None:
    async def ask(reading: Reading) -> None:
        references = OpenReferences(reading)
        reading.may_answer.set()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await references.contain(OPEN)

    reading = Reading(Unavailable("away", resource="database", reason="away"))
    asyncio.run(ask(reading))
    assert len(reading.batches) == 2


def test_who_went_away_keeps_nobody_from_an_answer() -> None:
    async def ask(reading: Reading) -> bool:
        references = OpenReferences(reading)
        gone = asyncio.create_task(references.contain(OPEN))
        stays = asyncio.create_task(references.contain(OPEN))
        while not reading.batches:
            await asyncio.sleep(0)
        gone.cancel()
        reading.may_answer.set()
        return await stays

    assert asyncio.run(ask(Reading()))


def test_what_is_no_id_of_ours_is_not_asked_for() -> None:
    reading = Reading()
    assert not asyncio.run(OpenReferences(reading).contain("their-own-id"))
    assert reading.batches == []
