"""
Spans as Zipkin's JSON, version 2, over HTTP. Only loaded while spans go to Zipkin.

Zipkin knows no links between spans: each is a tag with the `traceparent` of the other span. Its
picture of who depends on whom wants the other side's name: the broker's, if no other is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, StatusCode

from orderflow.messaging.http.client import BoundedClient

ANSWER_BYTES_MAX = 64 * 1024

_KINDS: Mapping[SpanKind, str] = {
    SpanKind.SERVER: "SERVER",
    SpanKind.CLIENT: "CLIENT",
    SpanKind.PRODUCER: "PRODUCER",
    SpanKind.CONSUMER: "CONSUMER",
}
"""Zipkin's kinds; a span within a process has none."""

_OTHER_SIDE = ("peer.service", "messaging.system", "server.address")
"""Attributes that name the other side, the best one first."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_JSON = {"Content-Type": "application/json"}


class ZipkinExporter(SpanExporter):
    """
    Sends spans to `endpoint`, the whole URL, each call within `within_s`. Never raises.

    `trouble`: why the last call failed, without addresses; empty if it did not.
    """

    def __init__(self, endpoint: str, *, within_s: float) -> None:
        self._endpoint = endpoint
        self._client = BoundedClient(
            within_s=within_s,
            bytes_max=ANSWER_BYTES_MAX,
            timeout=within_s,
            # A proxy is for other machines.
            trust_env=urlsplit(endpoint).hostname not in _LOOPBACK,
        )
        self.trouble = ""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.trouble = self._send(msgspec.json.encode([zipkin_span(span) for span in spans]))
        return SpanExportResult.FAILURE if self.trouble else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._client.close()

    def _send(self, body: bytes) -> str:
        try:
            answer = self._client.post(self._endpoint, content=body, headers=_JSON)
        except httpx2.TimeoutException:
            return "it did not answer in time"
        except Exception:  # noqa: BLE001 - whatever happens here must not stop the process's work
            return "it can't be reached"
        return "" if answer.is_success else f"it answered {answer.status_code}"


def zipkin_span(span: ReadableSpan) -> dict[str, Any]:
    """One span as Zipkin wants it. Times are microseconds; what takes less than one takes one."""
    context, attributes = span.context, span.attributes or {}
    started_us = (span.start_time or 0) // 1_000
    ended_us = (span.end_time or 0) // 1_000
    resource = span.resource.attributes

    document: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "id": f"{context.span_id:016x}",
        "name": span.name,
        "timestamp": started_us,
        "duration": max(1, ended_us - started_us),
        "localEndpoint": {"serviceName": resource["service.name"]},
        "tags": _tags(span, attributes, str(resource.get("service.instance.id", ""))),
    }
    if span.parent is not None:
        document["parentId"] = f"{span.parent.span_id:016x}"
    if span.events:
        document["annotations"] = [_annotation(event) for event in span.events]

    kind = _KINDS.get(span.kind)
    if kind is not None:
        document["kind"] = kind
    if kind not in (None, "SERVER"):
        other = next((attributes[name] for name in _OTHER_SIDE if name in attributes), None)
        if other is not None:
            document["remoteEndpoint"] = {"serviceName": str(other)}
    return document


def _tags(span: ReadableSpan, attributes: Mapping[str, Any], instance: str) -> dict[str, str]:
    tags = {name: _text(value) for name, value in attributes.items()}
    tags |= {f"link.{number}": _traceparent(link) for number, link in enumerate(span.links)}
    if instance:
        tags["service.instance.id"] = instance
    if span.status.status_code is StatusCode.ERROR:
        tags |= {"otel.status_code": "ERROR", "error": span.status.description or ""}
    return tags


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _traceparent(link: Link) -> str:
    context = link.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _annotation(event: Event) -> dict[str, Any]:
    """The form that OpenTelemetry gives events in Zipkin: the name, then attributes as JSON."""
    value = event.name
    if event.attributes:
        value = f'"{event.name}": {msgspec.json.encode(dict(event.attributes)).decode()}'
    return {"timestamp": event.timestamp // 1_000, "value": value}
