"""Durations in an HDR histogram, each measured from the moment at which its request was due."""

from __future__ import annotations

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
