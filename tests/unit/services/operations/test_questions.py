"""Questions that take long: on their own threads, with an end, and no more than there is room."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from orderflow.messaging.http.problems import Problem
from orderflow.services.operations.questions import Questions


@pytest.fixture
def questions() -> Iterator[Questions]:
    made = Questions("tests", threads=1, waiting_max=2)
    made.start()
    yield made
    made.close()


class Work:
    """Begins, and ends once it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go_on.wait(10)
        return "answer"


def test_an_answer_and_an_error_come_back_to_who_asked(questions: Questions) -> None:
    assert asyncio.run(questions.ask(lambda: 7, within_s=5, late="")) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(questions.ask(lambda: 1 // 0, within_s=5, late=""))


def test_what_is_late_says_so_and_what_had_not_begun_never_does(questions: Questions) -> None:
    runs, waits = Work(), Work()
    waits.go_on.set()

    async def both() -> list[str]:
        first = asyncio.create_task(questions.ask(runs, within_s=0.05, late="first"))
        await asyncio.to_thread(runs.begun.wait, 5)
        second = asyncio.create_task(questions.ask(waits, within_s=0.05, late="second"))
        answers = await asyncio.gather(first, second, return_exceptions=True)
        return [str(error.detail) for error in answers if isinstance(error, Problem)]

    assert asyncio.run(both()) == ["first", "second"]
    runs.go_on.set()
    # The thread goes on with the next question, and has left out the one that nobody waits for.
    assert asyncio.run(questions.ask(lambda: "next", within_s=5, late="")) == "next"
    assert not waits.begun.is_set()


def test_without_room_a_question_is_refused_at_once_and_room_comes_back(
    questions: Questions,
) -> None:
    runs = Work()

    async def four() -> list[object]:
        asked_for = [
            asyncio.create_task(questions.ask(work, within_s=10, late=""))
            for work in (runs, lambda: "waited", lambda: "waited too", lambda: "too many")
        ]
        refused = await asyncio.gather(asked_for[3], return_exceptions=True)
        runs.go_on.set()
        return [*refused, *await asyncio.gather(*asked_for[:3])]

    [refused, *answers] = asyncio.run(four())
    assert isinstance(refused, Problem)
    assert (refused.status, answers) == (503, ["answer", "waited", "waited too"])
    assert asyncio.run(questions.ask(lambda: "room", within_s=5, late="")) == "room"
