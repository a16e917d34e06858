"""Nobody calls without the key, nor more often than is allowed."""

from __future__ import annotations

import pytest

from orderflow.neighbours.psp.admission import Admission, Refusal


@pytest.mark.parametrize(
    "given", [None, "", "key", "Bearer wrong", "Bearer key ", "Bearer schlüssel"]
)
def test_without_the_key_a_call_is_unauthorized(given: str | None) -> None:
    with pytest.raises(Refusal) as refusal:
        Admission(api_key="key").admit(given)
    assert refusal.value.status == 401
    assert refusal.value.headers == {"WWW-Authenticate": "Bearer"}


def test_with_the_key_or_where_none_is_asked_for_a_call_comes_in() -> None:
    Admission(api_key="key").admit("Bearer key")
    Admission().admit(None)


def test_a_call_too_many_is_told_when_to_come_again() -> None:
    now = 0.0
    admission = Admission(requests_per_s=0.5, monotonic=lambda: now)
    admission.admit(None)
    with pytest.raises(Refusal) as refusal:
        admission.admit(None)
    assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": "2"})
    now = 2.0
    admission.admit(None)
