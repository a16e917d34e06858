"""Spans on their way out: in both forms, and while a back end is away."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from tests.support.slow_server import slow_server
from tests.support.span_collector import SpanCollector, span_collector

from orderflow.messaging.settings import TelemetrySettings, TracesSection
from orderflow.messaging.telemetry import configure, span_export, traces
from orderflow.messaging.telemetry.span_export import SPANS, SdkSink, SpanWriter, exporter_of
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.telemetry.traces import (
    Moment,
    Span,
    close_traces,
    configure_traces,
    record_spans,
)
from orderflow.messaging.testing.eventually import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1bf7651916cd43dd8448eb211c80319d"
OUTCOMES = ("recorded", "exported", "failed", "dropped")


def span(number: int = 1) -> Span:
    return Span(
        name="process orders",
        kind="consumer",
        context=TraceContext(TRACE, f"{number:016x}", "01"),
        parent_id="00000000000000aa",
        started_ns=1_700_000_000_123_456_789,
        ended_ns=1_700_000_000_125_456_789,
        attributes={
            "messaging.system": "kafka",
            "messaging.kafka.offset": 42,
            "orderflow.repeated": True,
        },
        moments=(Moment("attempt failed", 1_700_000_000_124_000_000, {"attempt": 1}),),
        links=(TraceContext(OTHER, "00000000000000bb", "01"),),
        error="the handler gave up",
    )


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def every_span_is_accounted_for() -> Iterator[None]:
    """What was recorded was exported, has failed or was dropped, once nothing waits any more."""
    yield

    def nothing_waits() -> bool:
        counts = {outcome: SPANS.labels(outcome)._value.get() for outcome in OUTCOMES}
        return bool(counts.pop("recorded") == sum(counts.values()))

    eventually(nothing_waits, within_s=30)


@pytest.fixture
def collector() -> Iterator[SpanCollector]:
    with span_collector() as collector:
        yield collector


@pytest.fixture
def counted() -> Callable[[], dict[str, int]]:
    before = {outcome: SPANS.labels(outcome)._value.get() for outcome in OUTCOMES}
    return lambda: {
        outcome: int(SPANS.labels(outcome)._value.get() - before[outcome]) for outcome in OUTCOMES
    }


@contextmanager
def sink(exporter: SpanExporter | SpanWriter, settings: TracesSection) -> Iterator[SdkSink]:
    opened = SdkSink(exporter, "payment", settings)
    yield opened
    opened.close()


class Gate(SpanExporter):
    """Exports nothing before it is opened; `fails`: how often it then refuses."""

    def __init__(self, *, fails: int = 0) -> None:
        self.opened = threading.Event()
        self.began = threading.Event()
        self.fails = fails
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        assert self.opened.wait(30)
        if self.fails:
            self.fails -= 1
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_zipkin_is_sent_a_span_as_its_api_defines_it(collector: SpanCollector) -> None:
    settings = TracesSection(exporter="zipkin", endpoint=f"{collector.url}/api/v2/spans")
    configure_traces("payment", settings)
    record_spans([span()])
    close_traces()

    ((path, content_type, body),) = collector.posts
    assert (path, content_type) == ("/api/v2/spans", "application/json")
    (sent,) = json.loads(body)
    assert sent["tags"].pop("service.instance.id")
    assert sent == {
        "traceId": TRACE,
        "id": "0000000000000001",
        "parentId": "00000000000000aa",
        "kind": "CONSUMER",
        "name": "process orders",
        "timestamp": 1_700_000_000_123_456,
        "duration": 2_000,
        "localEndpoint": {"serviceName": "payment"},
        "remoteEndpoint": {"serviceName": "kafka"},
        "annotations": [
            {"timestamp": 1_700_000_000_124_000, "value": '"attempt failed": {"attempt":1}'}
        ],
        "tags": {
            "messaging.system": "kafka",
            "messaging.kafka.offset": "42",
            "orderflow.repeated": "true",
            "link.0": f"00-{OTHER}-00000000000000bb-01",
            "otel.status_code": "ERROR",
            "error": "the handler gave up",
        },
    }


@pytest.mark.parametrize(
    ("kind", "attributes", "other"),
    [
        ("client", {"peer.service": "psp", "server.address": "127.0.0.1"}, "psp"),
        ("client", {"server.address": "psp.example"}, "psp.example"),
        ("producer", {"messaging.system": "kafka"}, "kafka"),
        ("server", {"server.address": "127.0.0.1"}, None),
        ("internal", {"peer.service": "psp"}, None),
    ],
)
def test_zipkin_is_named_the_other_side_of_calls_and_records(
    collector: SpanCollector, kind: str, attributes: dict[str, str], other: str | None
) -> None:
    settings = TracesSection(exporter="zipkin", endpoint=collector.url)
    plain = Span(
        name="call",
        kind=kind,  # type: ignore[arg-type]
        context=TraceContext(TRACE, "0000000000000001", "01"),
        parent_id=None,
        started_ns=1_000,
        ended_ns=1_000,
        attributes=attributes,
    )
    with sink(exporter_of(settings), settings) as zipkin:
        zipkin.take([plain])

    (sent,) = collector.zipkin_spans
    assert sent.get("remoteEndpoint") == (None if other is None else {"serviceName": other})
    assert sent.get("kind") == (None if kind == "internal" else kind.upper())
    assert "parentId" not in sent
    assert sent["duration"] == 1


def test_otlp_is_sent_a_span_as_its_protocol_defines_it(collector: SpanCollector) -> None:
    settings = TracesSection(exporter="otlp", endpoint=f"{collector.url}/v1/traces")
    with sink(exporter_of(settings), settings) as otlp:
        otlp.take([span()])

    ((path, content_type, body),) = collector.posts
    assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
    (of_resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    resource = {each.key: each.value.string_value for each in of_resource.resource.attributes}
    assert resource["service.name"] == "payment"

    (of_scope,) = of_resource.scope_spans
    (sent,) = of_scope.spans
    assert sent.name == "process orders"
    assert sent.kind == trace_pb2.Span.SPAN_KIND_CONSUMER
    assert sent.trace_id.hex() == TRACE
    assert (sent.span_id.hex(), sent.parent_span_id.hex()) == (f"{1:016x}", "00000000000000aa")
    assert sent.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    assert sent.start_time_unix_nano == 1_700_000_000_123_456_789
    assert sent.end_time_unix_nano == 1_700_000_000_125_456_789
    assert (sent.status.code, sent.status.message) == (
        trace_pb2.Status.STATUS_CODE_ERROR,
        "the handler gave up",
    )

    attributes = {each.key: each.value for each in sent.attributes}
    assert attributes["messaging.kafka.offset"].int_value == 42
    assert attributes["orderflow.repeated"].bool_value
    (event,) = sent.events
    assert (event.name, event.time_unix_nano) == ("attempt failed", 1_700_000_000_124_000_000)
    (link,) = sent.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (OTHER, "00000000000000bb")


def test_a_full_queue_drops_the_newest_spans_and_counts_them_and_the_caller_goes_on(
    counted: Callable[[], dict[str, int]],
) -> None:
    back_end = Gate()
    with sink(back_end, TracesSection(exporter="otlp", queue_max=512)) as spans:
        spans.take([span(0)])
        assert back_end.began.wait(10)

        began = time.monotonic()
        for number in range(1, 1_001):
            spans.take([span(number)])
        assert time.monotonic() - began < 10
        assert counted() == {"recorded": 1_001, "exported": 0, "failed": 0, "dropped": 488}

        back_end.opened.set()
        eventually(lambda: len(back_end.spans) == 513, within_s=10)
        spans.take([span(2_000)])

    assert [each.context.span_id for each in back_end.spans] == [*range(513), 2_000]
    assert counted() == {"recorded": 1_002, "exported": 514, "failed": 0, "dropped": 488}


def test_spans_wait_for_a_back_end_that_is_away(
    collector: SpanCollector,
    counted: Callable[[], dict[str, int]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(span_export, "PAUSE_FIRST_S", 0.01)
    configure("payment", TelemetrySettings(log_format="json"))
    settings = TracesSection(exporter="zipkin", endpoint=collector.url)

    collector.status = 503
    with sink(exporter_of(settings), settings) as zipkin:
        zipkin.take([span(1)])
        eventually(lambda: collector.refused > 2, within_s=10)
        collector.status = 202
        eventually(lambda: counted()["exported"] == 1, within_s=10)

    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["message"], line.get("reason")) for line in written] == [
        ("spans wait for their back end", "it answered 503"),
        ("spans are exported again", None),
    ]
    assert counted() == {"recorded": 1, "exported": 1, "failed": 0, "dropped": 0}


@pytest.mark.parametrize("exporter", ["zipkin", "otlp"])
def test_a_back_end_that_stays_away_is_given_up_with_a_line_that_names_no_address(
    exporter: str,
    counted: Callable[[], dict[str, int]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(span_export, "WAIT_FOR_BACK_END_S", 0.0)
    configure("payment", TelemetrySettings(log_format="json"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        settings = TracesSection(
            exporter=exporter,  # type: ignore[arg-type]
            endpoint=f"http://127.0.0.1:{port}/spans",
            export_within_s=0.5,
        )
        with sink(exporter_of(settings), settings) as spans:
            spans.take([span(1), span(2)])
            eventually(lambda: counted()["failed"] == 2, within_s=10)

    err = capsys.readouterr().err
    written = [json.loads(line) for line in err.splitlines()]
    assert [line["message"] for line in written] == [
        "spans wait for their back end",
        "spans are lost",
    ]
    assert (written[1]["level"], written[1]["spans"]) == ("warning", 2)
    assert written[1]["back_end"] == exporter
    assert str(port) not in err
    assert "127.0.0.1" not in err


@pytest.mark.parametrize("exporter", ["zipkin", "otlp"])
def test_the_end_of_a_process_waits_for_a_back_end_that_hangs_but_not_longer_than_it_says(
    exporter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (traces, span_export):
        monkeypatch.setattr(module, "CLOSE_WITHIN_S", 0.4)
    with slow_server(b"HTTP/1.1 200 OK\r\n", b"X", every_s=0.1) as server:
        configure_traces(
            "payment",
            TracesSection(
                exporter=exporter,  # type: ignore[arg-type]
                endpoint=f"http://127.0.0.1:{server.port}/spans",
                export_within_s=20.0,
            ),
        )
        record_spans([span(number) for number in range(2_000)])
        began = time.monotonic()
        close_traces()
        assert 0.3 < time.monotonic() - began < 10


def test_the_end_of_a_process_gives_up_at_once_when_nobody_listens(
    counted: Callable[[], dict[str, int]],
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        configure_traces(
            "payment",
            TracesSection(
                exporter="zipkin", endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}/spans"
            ),
        )
        record_spans([span(number) for number in range(2_000)])
        close_traces()

    assert counted() == {"recorded": 2_000, "exported": 0, "failed": 2_000, "dropped": 0}
