"""Waiting for a condition with a deadline: the only way a test may wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    probe: Callable[[], T], *, within_s: float, every_s: float = 0.05, why: str = ""
) -> T:
    """
    Call `probe` until it returns something true, and return that.

    An exception counts as not yet. At the deadline: AssertionError with the last value or, as its
    cause, the last exception.
    """
    deadline = time.monotonic() + within_s

    while True:
        last: object = None
        cause: Exception | None = None
        try:
            last = value = probe()
            if value:
                return value
        except Exception as error:  # noqa: BLE001 - not yet is not yet, whatever the reason
            cause = error

        if time.monotonic() >= deadline:
            what = why or getattr(probe, "__name__", "the condition")
            raise AssertionError(
                f"{what}: not within {within_s} s; last: {cause or last!r}"
            ) from cause
        time.sleep(every_s)
