"""
Spans of this process. OpenTelemetry's SDK batches and exports them, on a thread of its own.

A span is recorded when it is over and true: a listener's when its record is finished for good, a
relay's when the transaction is committed. So nothing is undone, and what a killed process had not
exported is all that a trace misses; contexts are derived, so no other span loses its parent's id.
While no exporter is configured nothing is kept and `record_spans` does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from orderflow.messaging.settings import TracesSection
from orderflow.messaging.telemetry.trace_context import TraceContext

CLOSE_WITHIN_S = 2.0

Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["server", "client", "producer", "consumer", "internal"]
"""OpenTelemetry's kinds of spans."""


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Something that happened within a span. `at_ns`: nanoseconds since 1970."""

    name: str
    at_ns: int
    attributes: Attributes = {}


class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    One span that is over. `context` is its own place, `parent_id` its parent's id in the same
    trace. Times are nanoseconds since 1970. `links`: contexts of spans elsewhere. `error`: why it
    failed, in words without personal data; empty if it did not.
    """

    name: str
    kind: Kind
    context: TraceContext
    parent_id: str | None
    started_ns: int
    ended_ns: int
    attributes: Attributes = {}
    moments: Sequence[Moment] = ()
    links: Sequence[TraceContext] = ()
    error: str = ""


class SpanSink(Protocol):
    """Takes spans, and exports them some time later."""

    def take(self, spans: Iterable[Span]) -> None:
        """Take spans whose traces are sampled; returns at once."""

    def close(self) -> None:
        """Export what is left; may take as long as the back end does."""


class _Recorder:
    """Where spans go; nowhere while tracing is off."""

    sink: SpanSink | None = None
    ratio = 0.0


_recorder = _Recorder()
_current: ContextVar[TraceContext | None] = ContextVar("current_span", default=None)


def configure_traces(service: str, settings: TracesSection) -> None:
    """Export the spans of this process, as those of `service`. Called once, at start."""
    if settings.exporter == "off":
        return
    # Here, since it takes a third of a second: a process that traces nothing loads nothing.
    from orderflow.messaging.telemetry.span_export import SdkSink, exporter_of  # noqa: PLC0415

    record_to(SdkSink(exporter_of(settings), service, settings), ratio=settings.sampled)


def record_to(sink: SpanSink | None, *, ratio: float = 1.0) -> None:
    """Give spans to `sink` from now on, None to nobody; for tests and benchmarks."""
    _recorder.sink = sink
    _recorder.ratio = 0.0 if sink is None else ratio


def close_traces() -> None:
    """Export what is left, within 2 s; what a back end has not taken by then is dropped."""
    sink = _recorder.sink
    record_to(None)
    if sink is None:
        return
    # On a thread that ends with the process: a back end that hangs must not hold up the stop.
    closing = threading.Thread(target=sink.close, name="close-traces", daemon=True)
    closing.start()
    closing.join(CLOSE_WITHIN_S)


def sampled_ratio() -> float:
    """Of which part of new traces this process wants spans; 0 while tracing is off."""
    return _recorder.ratio


def nanoseconds(moment: datetime) -> int:
    """A moment as spans have it: nanoseconds since 1970."""
    return int(moment.timestamp() * 1_000_000) * 1_000


def is_on() -> bool:
    """Whether this process records spans."""
    return _recorder.sink is not None


@contextmanager
def within(context: TraceContext | None) -> Iterator[None]:
    """Make `context` the parent of what is called in here, on this thread or on one that copies."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> TraceContext | None:
    """The span that a call made here belongs to, if its trace is sampled."""
    return _current.get()


def record_spans(spans: Iterable[Span]) -> None:
    """Hand over spans whose traces are sampled. Returns at once, whatever the back end does."""
    sink = _recorder.sink
    if sink is not None:
        sink.take(spans)
