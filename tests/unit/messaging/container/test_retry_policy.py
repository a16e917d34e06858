"""
The retry decision, in all cases: who is charged, who waits for how long, who is given up, when the
gate closes.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.messaging.errors import Poison
from orderflow.messaging.listener import CloseGate, DeadLetter, RetryPolicy, Unknown, Wait

POLICIES = st.builds(
    RetryPolicy,
    back_off_s=st.lists(st.floats(0.01, 100), max_size=5).map(tuple),
    lone_failures_max=st.integers(1, 30),
)
ATTEMPTS = st.integers(0, 6)
IN_A_ROW = st.integers(1, 60)


@settings(deadline=None)
@given(POLICIES, ATTEMPTS, IN_A_ROW, st.booleans())
def test_poison_is_given_up_at_once_whatever_the_handler_looks_like(
    policy: RetryPolicy, attempts: int, in_a_row: int, probing: bool
) -> None:
    step = policy.next_step(
        Poison("unreadable"), attempts=attempts, lone_in_a_row=in_a_row, probing=probing
    )
    assert step == DeadLetter(attempts + 1)


@settings(deadline=None)
@given(POLICIES, ATTEMPTS, IN_A_ROW, st.booleans())
def test_a_handler_that_fails_for_everything_charges_nobody(
    policy: RetryPolicy, attempts: int, in_a_row: int, probing: bool
) -> None:
    step = policy.next_step(
        ValueError("x"), attempts=attempts, lone_in_a_row=in_a_row, probing=probing
    )
    assert (step == CloseGate()) == (probing or in_a_row > policy.lone_failures_max)


@settings(deadline=None)
@given(POLICIES)
def test_a_record_has_one_attempt_more_than_back_offs_and_waits_each_of_them_in_turn(
    policy: RetryPolicy,
) -> None:
    steps = [
        policy.next_step(ValueError("x"), attempts=attempts, lone_in_a_row=1, probing=False)
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
    if unknown_s > policy.unknown_for_s:
        assert step == DeadLetter(lookups)
    else:
        least, most = policy.unknown_back_off_s
        assert isinstance(step, Wait)
        assert least <= step.seconds <= most
        assert lookups > 4 or step.seconds == least * 2**lookups
