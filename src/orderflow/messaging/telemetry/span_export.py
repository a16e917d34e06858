"""
Spans as OpenTelemetry's SDK has them, and where they go. Only loaded while tracing is on.

The thread that records a span pays for a place in a queue and nothing else: the exporting thread
makes the SDK's form of it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Protocol, cast, runtime_checkable

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from orderflow.messaging.settings import TracesSection
from orderflow.messaging.telemetry.logs import logger
from orderflow.messaging.telemetry.metrics import counter
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.telemetry.traces import CLOSE_WITHIN_S, Attributes, Kind, Span

BATCH_MAX = 512
EXPORT_EVERY_MS = 500
WAIT_FOR_BACK_END_S = 120.0
PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 5.0
OTLP_ENDPOINT = "http://127.0.0.1:4318/v1/traces"
ZIPKIN_ENDPOINT = "http://127.0.0.1:9411/api/v2/spans"

SPANS = counter("spans", "Spans, by what became of them.", ("outcome",))
RECORDED, EXPORTED, FAILED, DROPPED = (
    SPANS.labels(outcome) for outcome in ("recorded", "exported", "failed", "dropped")
)
"""Recorded are all: those that wait are what the other three leave of them."""

# Its lines carry addresses and texts of drivers, and one for each batch: ours say it once a minute.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)

_KINDS: Mapping[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_ENTRIES = frozenset({"server", "consumer"})
"""Kinds of spans whose parents are in other processes."""

_SCOPE = InstrumentationScope("orderflow")
_OK = Status(StatusCode.UNSET)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@runtime_checkable
class SpanWriter(Protocol):
    """
    An exporter that takes spans as we have them: the SDK's form of a span costs as much as its
    JSON, on a thread that shares its lock with the process's work.
    """

    def write(self, spans: Sequence[Span], resource: Attributes) -> bool:
        """Whether the back end has taken them."""

    def shutdown(self) -> None:
        """Close its connections."""


def exporter_of(settings: TracesSection) -> SpanExporter | SpanWriter:
    """The exporter that the settings ask for; only what it needs is loaded."""
    if settings.exporter == "zipkin":
        from orderflow.messaging.telemetry.zipkin import ZipkinExporter  # noqa: PLC0415

        return ZipkinExporter(
            settings.endpoint or ZIPKIN_ENDPOINT, within_s=settings.export_within_s
        )

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(
        endpoint=settings.endpoint or OTLP_ENDPOINT, timeout=settings.export_within_s
    )


class SdkSink:
    """
    Batches spans, and exports them on a thread of its own.

    A back end that is away is waited for, 120 s for each batch; meanwhile `queue_max` spans wait,
    and more are dropped: the newest, so that the traces before them stay whole.
    """

    def __init__(
        self, exporter: SpanExporter | SpanWriter, service: str, settings: TracesSection
    ) -> None:
        self._delivery = _Delivery(exporter, service, settings)
        self._processor = BatchSpanProcessor(
            self._delivery,
            max_queue_size=settings.queue_max,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=BATCH_MAX,
        )

    def take(self, spans: Iterable[Span]) -> None:
        recorded = tuple(spans)
        RECORDED.inc(len(recorded))
        room = self._delivery.reserve(len(recorded))
        for span in recorded[:room]:
            # The processor looks at the context's flag alone, and hands on what it was given.
            self._processor.on_end(cast("ReadableSpan", _Recorded(span)))

    def close(self) -> None:
        """Export what is left; a back end that fails once now, or for 2 s, is not tried again."""
        self._delivery.close_by(time.monotonic() + CLOSE_WITHIN_S)
        self._processor.shutdown()  # type: ignore[no-untyped-call]


class _Recorded(msgspec.Struct, gc=False):
    """A span on its way through the library's queue."""

    span: Span
    context: ClassVar[SpanContext] = SpanContext(1, 1, is_remote=False, trace_flags=_SAMPLED)


class _Delivery(SpanExporter):
    """Hands batches to the exporter, again while its back end is away, and counts the spans."""

    def __init__(
        self, exporter: SpanExporter | SpanWriter, service: str, settings: TracesSection
    ) -> None:
        self._exporter = exporter
        self._back_end = settings.exporter
        self._about: Attributes = {
            "service.name": service,
            "service.namespace": "orderflow",
            "service.instance.id": str(os.getpid()),
        }
        self._resource = Resource(self._about)

        self._queue_max = settings.queue_max
        self._waiting = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._close_by = float("inf")
        self._is_away = False
        self._log = logger(__name__)

    def reserve(self, count: int) -> int:
        """For how many of so many spans the queue has room; the others are dropped."""
        with self._lock:
            room = min(count, self._queue_max - self._waiting)
            self._waiting += room
        if room < count:
            DROPPED.inc(count - room)
        return room

    def close_by(self, deadline: float) -> None:
        self._close_by = deadline
        self._closing.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._lock:
            self._waiting -= len(spans)
        recorded = cast("Sequence[_Recorded]", spans)

        delivered = False
        try:
            delivered = self._deliver([each.span for each in recorded])
        finally:
            (EXPORTED if delivered else FAILED).inc(len(spans))
        return SpanExportResult.SUCCESS if delivered else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """The processor exports what waits; nothing waits here."""
        return True

    def _export(self, spans: Sequence[Span]) -> bool:
        if isinstance(self._exporter, SpanWriter):
            return self._exporter.write(spans, self._about)
        readable = [readable_span(span, self._resource) for span in spans]
        return self._exporter.export(readable) is SpanExportResult.SUCCESS

    def _deliver(self, spans: Sequence[Span]) -> bool:
        give_up_at = time.monotonic() + WAIT_FOR_BACK_END_S
        pause_s = PAUSE_FIRST_S

        while time.monotonic() < self._close_by:
            if self._export(spans):
                self._is_back()
                return True
            self._went_away()
            if self._closing.is_set():
                self._close_by = 0.0
            elif time.monotonic() >= give_up_at:
                self._log.warning("spans are lost", spans=len(spans), **self._trouble())
                return False
            else:
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return False

    def _went_away(self) -> None:
        if not self._is_away:
            self._is_away = True
            self._log.info("spans wait for their back end", **self._trouble())

    def _is_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._log.info("spans are exported again", back_end=self._back_end)

    def _trouble(self) -> dict[str, str]:
        reason = getattr(self._exporter, "trouble", "") or "it does not take them"
        return {"back_end": self._back_end, "reason": reason}


def readable_span(span: Span, resource: Resource) -> ReadableSpan:
    """A span in the SDK's form."""
    trace_id = int(span.context.trace_id, 16)
    parent = None
    if span.parent_id is not None:
        parent = _sdk_context(trace_id, span.parent_id, is_remote=span.kind in _ENTRIES)

    return ReadableSpan(
        name=span.name,
        context=_sdk_context(trace_id, span.context.span_id),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        events=[Event(moment.name, moment.attributes, moment.at_ns) for moment in span.moments],
        links=[Link(_linked(link)) for link in span.links],
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else _OK,
        start_time=span.started_ns,
        end_time=span.ended_ns,
        instrumentation_scope=_SCOPE,
    )


def _sdk_context(trace_id: int, span_id: str, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), is_remote, _SAMPLED)


def _linked(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(context.flags, 16)),
    )
