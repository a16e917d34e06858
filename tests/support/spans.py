"""Spans kept in memory, and what a trace must satisfy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orderflow.messaging.telemetry.traces import Span, record_to


class Spans:
    """Keeps the spans that this process records."""

    def __init__(self) -> None:
        self.all: list[Span] = []

    def take(self, spans: Iterable[Span]) -> None:
        self.all += spans

    def close(self) -> None:
        """Nothing is open."""

    def named(self, name: str) -> list[Span]:
        return [span for span in self.all if span.name == name]

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.all if span.context.trace_id == trace_id]


@contextmanager
def recorded(*, ratio: float = 1.0) -> Iterator[Spans]:
    """Record the spans of this process in memory, and nowhere else."""
    spans = Spans()
    record_to(spans, ratio=ratio)
    try:
        yield spans
    finally:
        record_to(None)


def missing_parents(spans: Iterable[Span], *, root: str) -> set[str]:
    """Names of spans whose parent is not among the spans, nor is `root`."""
    spans = list(spans)
    known = {span.context.span_id for span in spans} | {root}
    return {span.name for span in spans if span.parent_id not in known}
