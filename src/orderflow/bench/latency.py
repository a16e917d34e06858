"""Latency, measured from the intended moment, in an HDR histogram (Gil Tene: coordinated omission)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import msgspec
from hdrh.histogram import HdrHistogram

_LONGEST_US = 600_000_000


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    count: int

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.1f} ms · p99 {self.p99_ms:.1f} ms · max {self.max_ms:.1f} ms"


class Latencies:
    """Durations, kept to three digits up to ten minutes."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _LONGEST_US, 3)

    def record_ns(self, duration_ns: int) -> None:
        self._histogram.record_value(min(max(duration_ns // 1000, 1), _LONGEST_US))

    def percentiles(self) -> Percentiles:
        at = self._histogram.get_value_at_percentile
        return Percentiles(
            p50_ms=at(50) / 1000,
            p99_ms=at(99) / 1000,
            p999_ms=at(99.9) / 1000,
            max_ms=self._histogram.get_max_value() / 1000,
            count=self._histogram.get_total_count(),
        )


def poisson_schedule(*, rate_per_s: float, duration_s: float, seed: int) -> Iterator[float]:
    """Moments in seconds from the start, drawn beforehand: arrivals do not wait for the system under test."""
    draw = random.Random(seed)
    moment = draw.expovariate(rate_per_s)
    while moment < duration_s:
        yield moment
        moment += draw.expovariate(rate_per_s)


def wait_until(moment_ns: int) -> None:
    """Return at `moment_ns` of CLOCK_MONOTONIC, or at once when it has passed."""
    while (left_ns := moment_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)
