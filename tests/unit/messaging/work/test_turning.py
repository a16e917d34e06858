"""A loop that does not turn is complained about after its limit, with what it is at."""

from __future__ import annotations

from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.turning import Turning


def test_a_loop_that_is_at_one_thing_for_too_long_is_named_with_it_until_it_goes_on() -> None:
    clock = MemoryClock()
    turning = Turning("loop", within_s=10, clock=clock)
    turning.mark("read")
    clock.advance(10)
    assert turning.reasons() == []

    turning.mark("write")
    clock.advance(10.5)
    assert turning.reasons() == ["loop: has not turned for 10 s, in: write"]
    turning.mark("read")
    assert turning.reasons() == []


def test_a_loop_that_rests_or_has_not_begun_is_not_complained_about() -> None:
    clock = MemoryClock()
    turning = Turning("loop", within_s=10, clock=clock)
    clock.advance(1_000)
    assert turning.reasons() == []
    turning.mark("read")
    turning.rest()
    clock.advance(1_000)
    assert turning.reasons() == []
