"""A gate closes on a failure, lets one probe through per back-off, and opens on a success."""

from __future__ import annotations

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.gate import Gate

AWAY = Unavailable("nobody answers", resource="database")


def test_an_open_gate_may_always_be_tried() -> None:
    gate = Gate("probe", "handle", clock=MemoryClock())
    assert gate.may_try(0.0)
    assert (gate.is_probing, gate.reason, gate.next_try_at) == (False, "", 0.0)


def test_back_offs_double_from_a_tenth_to_five_seconds_within_a_fifth() -> None:
    clock = MemoryClock()
    gate = Gate("probe", "handle", clock=clock)
    waits = []
    for _ in range(9):
        gate.failed(AWAY)
        assert not gate.may_try(clock.monotonic())
        waits.append(gate.next_try_at - clock.monotonic())
        clock.advance_to(gate.next_try_at)
        assert gate.may_try(clock.monotonic())
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert all(
        0.79 * want <= wait <= 1.21 * want for wait, want in zip(waits, expected, strict=True)
    )


def test_failures_of_what_had_begun_before_it_closed_count_once() -> None:
    clock = MemoryClock()
    gate = Gate("probe", "call", clock=clock)
    gate.failed(AWAY)
    until = gate.next_try_at
    for _ in range(100):
        gate.failed(AWAY)
    assert gate.next_try_at == until


def test_a_success_opens_it_and_the_next_failure_begins_small_again() -> None:
    clock = MemoryClock()
    gate = Gate("probe", "handle", clock=clock)
    for _ in range(6):
        gate.failed(AWAY)
        clock.advance_to(gate.next_try_at)
    assert gate.reason == "database: away"
    gate.succeeded()
    assert (gate.is_probing, gate.reason, gate.resource) == (False, "", "")
    gate.failed(AWAY)
    assert gate.next_try_at - clock.monotonic() < 0.2


def test_a_resource_that_says_when_it_wants_to_be_tried_again_is_not_tried_before() -> None:
    clock = MemoryClock()
    gate = Gate("listener", "call", clock=clock)
    gate.failed(AWAY)
    gate.failed(Unavailable("less often", resource="provider", retry_after_s=7.0))
    gate.failed(AWAY)
    clock.advance(6.9)
    assert not gate.may_try(clock.monotonic())
    clock.advance(0.2)
    assert gate.may_try(clock.monotonic())
