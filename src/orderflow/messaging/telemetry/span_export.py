"""
Spans as OpenTelemetry's SDK has them, and where they go. Only loaded while tracing is on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import TracesSection
from orderflow.messaging.telemetry.metrics import counter
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.telemetry.traces import Kind, Span

BATCH_MAX = 512
EXPORT_EVERY_MS = 500
OTLP_ENDPOINT = "http://127.0.0.1:4318/v1/traces"
ZIPKIN_ENDPOINT = "http://127.0.0.1:9411/api/v2/spans"

SPANS = counter("spans", "Spans, by what became of them.", ("outcome",))

_KINDS: Mapping[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_SCOPE = InstrumentationScope("orderflow")
_OK = Status(StatusCode.UNSET)


def exporter_of(settings: TracesSection) -> SpanExporter:
    """The exporter that the settings ask for."""
    if settings.exporter == "otlp":
        return OTLPSpanExporter(
            endpoint=settings.endpoint or OTLP_ENDPOINT, timeout=settings.export_within_s
        )
    raise ConfigurationError("the exporter for Zipkin is not here yet")


class SdkSink:
    """Batches spans, and exports them on a thread of its own. A full queue drops, and counts."""

    def __init__(self, exporter: SpanExporter, service: str, settings: TracesSection) -> None:
        self._resource = Resource(
            {
                "service.name": service,
                "service.namespace": "orderflow",
                "service.instance.id": str(os.getpid()),
            }
        )

        self._processor = BatchSpanProcessor(
            _Counting(exporter),
            max_queue_size=settings.queue_max,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=BATCH_MAX,
            export_timeout_millis=settings.export_within_s * 1000,
        )

    def take(self, spans: Iterable[Span]) -> None:
        count = 0
        for span in spans:
            self._processor.on_end(self._readable(span))
            count += 1
        SPANS.labels("recorded").inc(count)

    def close(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, span: Span) -> ReadableSpan:
        context = span.context
        parent = None if span.parent_id is None else _sdk_context(context.at(span.parent_id))

        return ReadableSpan(
            name=span.name,
            context=_sdk_context(context),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            events=[
                Event(moment.name, dict(moment.attributes), moment.at_ns) for moment in span.moments
            ],
            links=[Link(_sdk_context(link)) for link in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else _OK,
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=_SCOPE,
        )


def _sdk_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(int(context.flags, 16)),
    )


class _Counting(SpanExporter):
    """Counts what the back end took, and what it did not take."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        outcome = "exported" if result is SpanExportResult.SUCCESS else "failed"
        SPANS.labels(outcome).inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
