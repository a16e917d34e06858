"""A step of a deployment waits for who is away, for a stated time, and for nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orderflow.messaging.errors import (
    ConfigurationError,
    Contention,
    Incompatible,
    Transient,
    Unavailable,
    Unfit,
)
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.patience import Patience


class Waits:
    """What was said while it waited, and the clock that the rests advance."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.began = self.clock.monotonic()
        self.said: list[tuple[str, float]] = []

    def patience(self, away_s_max: float = 60.0) -> Patience:
        return Patience(
            waiting=lambda error, left_s: self.said.append((error.reason, left_s)),
            away_s_max=away_s_max,
            clock=self.clock,
            rest=self.clock.advance,
        )

    @property
    def waited_s(self) -> float:
        return self.clock.monotonic() - self.began


def away(reason: str = "away") -> Unavailable:
    return Unavailable("no answer", resource="registry", reason=reason)


def raising(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


@pytest.mark.parametrize(
    "error",
    [
        away(),
        Contention("a lock", resource="database"),
        Transient("undone", resource="database"),
    ],
)
def test_a_part_that_is_away_or_busy_is_asked_again(error: Transient) -> None:
    waits = Waits()
    assert waits.patience().through(raising(error, error, error)) == "done"
    assert 0 < waits.waited_s < 5


@pytest.mark.parametrize(
    "error",
    [
        Unfit("a page", resource="registry"),
        ConfigurationError("no"),
        Incompatible("no"),
        ValueError(),
    ],
)
def test_what_no_wait_mends_passes_at_once(error: Exception) -> None:
    waits = Waits()
    with pytest.raises(type(error)):
        waits.patience().through(raising(error, error))
    assert (waits.waited_s, waits.said) == (0, [])


def test_it_gives_up_after_the_time_that_it_states_with_the_last_error() -> None:
    waits = Waits()
    with pytest.raises(Unavailable, match="no answer"):
        waits.patience(60).through(raising(*[away()] * 1_000))
    assert waits.waited_s == 60


def test_it_says_what_it_waits_for_before_it_waits_and_when_that_changes() -> None:
    waits = Waits()
    waits.patience(60).through(raising(away(), away(), away("answers 503"), away("answers 503")))
    reasons = [reason for reason, _left_s in waits.said]
    assert reasons == ["away", "answers 503"]
    assert waits.said[0][1] == 60
    assert waits.said[1][1] < 60


def test_what_asks_for_time_gets_it() -> None:
    waits = Waits()
    busy = Unavailable("busy", resource="API", retry_after_s=20)
    waits.patience().through(raising(busy))
    assert waits.waited_s == 20


def test_without_patience_the_first_error_is_the_last() -> None:
    waits = Waits()
    with pytest.raises(Unavailable):
        waits.patience(0).through(raising(away()))
    assert (waits.waited_s, waits.said) == (0, [])


def test_each_call_that_succeeds_ends_an_absence() -> None:
    waits = Waits()
    patience = waits.patience(10)
    for _ in range(5):
        assert patience.through(raising(*[away()] * 4)) == "done"
    assert waits.waited_s > 10
