"""
The retry decision, in all cases: who is charged, who waits for how long, who is given up, when the
gate closes.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.messaging.errors import Poison, RecordFault
from orderflow.messaging.listener import CloseGate, DeadLetter, RetryPolicy, Unknown, Wait

POLICIES = st.builds(
    RetryPolicy,
    back_off_s=st.lists(st.floats(0.01, 100), max_size=5).map(tuple),
    lone_failures_max=st.integers(1, 30),
)
ATTEMPTS = st.integers(0, 6)
LONE = st.tuples(st.integers(1, 60), st.integers(1, 10))


@settings(deadline=None)
@given(POLICIES, ATTEMPTS, LONE, st.booleans())
def test_poison_is_given_up_at_once_whatever_the_handler_looks_like(
    policy: RetryPolicy, attempts: int, lone: tuple[int, int], suspected: bool
) -> None:
    step = policy.next_step(Poison("unreadable"), attempts=attempts, lone=lone, suspected=suspected)
    assert step == DeadLetter(attempts + 1)


@settings(deadline=None)
@given(POLICIES, ATTEMPTS, LONE, st.booleans())
def test_the_attempts_of_a_record_fault_count_whatever_the_handler_looks_like(
    policy: RetryPolicy, attempts: int, lone: tuple[int, int], suspected: bool
) -> None:
    fault = RecordFault("of an order that nobody knows")
    step = policy.next_step(fault, attempts=attempts, lone=lone, suspected=suspected)
    if attempts < len(policy.back_off_s):
        assert step == Wait(policy.back_off_s[attempts])
    else:
        assert step == DeadLetter(attempts + 1)


@settings(deadline=None)
@given(POLICIES, ATTEMPTS, LONE, st.booleans())
def test_a_handler_that_fails_for_records_of_several_keys_is_suspected_and_charges_nobody(
    policy: RetryPolicy, attempts: int, lone: tuple[int, int], suspected: bool
) -> None:
    step = policy.next_step(ValueError("x"), attempts=attempts, lone=lone, suspected=suspected)
    failures, keys = lone
    floods = failures >= policy.lone_failures_max and keys >= policy.lone_keys_min
    assert (step == CloseGate()) == (suspected or floods)


@settings(deadline=None)
@given(POLICIES, st.integers(1, 1_000))
def test_a_record_that_meets_a_lock_waits_within_bounds_however_often(
    policy: RetryPolicy, contentions: int
) -> None:
    least, most = policy.contention_back_off_s
    assert least <= policy.next_contended(contentions).seconds <= most


@settings(deadline=None)
@given(POLICIES)
def test_a_record_has_one_attempt_more_than_back_offs_and_waits_each_of_them_in_turn(
    policy: RetryPolicy,
) -> None:
    steps = [
        policy.next_step(ValueError("x"), attempts=attempts, lone=(1, 1), suspected=False)
        for attempts in range(policy.attempts_max)
    ]
    assert steps[:-1] == [Wait(seconds) for seconds in policy.back_off_s]
    assert steps[-1] == DeadLetter(policy.attempts_max)


@settings(deadline=None)
@given(POLICIES, st.integers(0, 200), st.floats(0, 10_000))
def test_look_ups_come_within_their_bounds_and_end_after_an_hour_or_never(
    policy: RetryPolicy, lookups: int, unknown_s: float
) -> None:
    owed = policy.next_lookup(
        Unknown(gives_up=False, rest_s=300.0), lookups=lookups, unknown_s=unknown_s
    )
    assert owed == Wait(300.0)
    step = policy.next_lookup(Unknown(), lookups=lookups, unknown_s=unknown_s)
    if unknown_s > policy.unknown_for_s and lookups >= policy.unknown_lookups_min:
        assert step == DeadLetter(lookups)
    else:
        least, most = policy.unknown_back_off_s
        assert isinstance(step, Wait)
        assert least <= step.seconds <= most
        assert lookups > 4 or step.seconds == least * 2**lookups
