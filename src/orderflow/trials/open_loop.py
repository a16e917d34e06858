"""
Open-loop load: requests at moments that are fixed beforehand and do not wait for answers.

A closed loop slows down with the system under test and so hides its delays (Gil Tene: coordinated
omission). Here a late request keeps the moment at which it was due.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

LAG_MAX_MS = 1.0
"""A turn whose requests were sent later than this at p99 measured the generator: it is void."""

START_IN_NS = 500_000_000


def poisson_schedule(*, rate_per_s: float, duration_s: float, seed: int) -> Iterator[float]:
    """Poisson arrivals, in seconds from the start."""
    draw = random.Random(seed)
    moment = draw.expovariate(rate_per_s)
    while moment < duration_s:
        yield moment
        moment += draw.expovariate(rate_per_s)


def constant_schedule(*, rate_per_s: float, duration_s: float, seed: int) -> Iterator[float]:
    """Arrivals at equal distances, in seconds from the start; `seed` shifts them all."""
    shift = random.Random(seed).random()
    for number in range(int(rate_per_s * duration_s)):
        yield (number + shift) / rate_per_s


class Schedule:
    """Poisson moments that several threads share: a thread that is free takes the next moment."""

    def __init__(self, *, rate_per_s: float, duration_s: float, seed: int) -> None:
        began_ns = time.monotonic_ns() + START_IN_NS
        offsets = poisson_schedule(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
        self._moments_ns = iter([began_ns + int(offset * 1e9) for offset in offsets])
        self._lock = threading.Lock()

    def due(self) -> Iterator[int]:
        """The moments (CLOCK_MONOTONIC nanoseconds) that fall to the calling thread."""
        while True:
            with self._lock:
                due_ns = next(self._moments_ns, None)
            if due_ns is None:
                return
            yield due_ns


def wait_until(moment_ns: int) -> None:
    """Return at `moment_ns` of CLOCK_MONOTONIC, or at once when it has passed."""
    while (left_ns := moment_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Run `work` in `count` threads; returns when all have ended, or raises what one raised."""
    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(work) for _ in range(count)]
    for future in futures:
        future.result()
