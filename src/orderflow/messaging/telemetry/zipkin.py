"""
Spans as Zipkin's JSON, version 2, over HTTP. Only loaded while spans go to Zipkin.

Zipkin knows no links between spans: each is a tag with the `traceparent` of the other span. Its
picture of who depends on whom wants the other side's name: the broker's, if no other is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec

from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.telemetry.traces import Attributes, Moment, Span

ANSWER_BYTES_MAX = 64 * 1024
INTERNAL = "internal"
"""A span within a process: Zipkin has no kind for it."""

_OTHER_SIDE = ("peer.service", "messaging.system", "server.address")
"""Attributes that name the other side, the best one first."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_JSON = {"Content-Type": "application/json"}


class ZipkinExporter:
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

    def write(self, spans: Sequence[Span], resource: Attributes) -> bool:
        """Whether Zipkin has taken these spans, whose process `resource` describes."""
        documents = [zipkin_span(span, resource) for span in spans]
        self.trouble = self._send(msgspec.json.encode(documents))
        return not self.trouble

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


def zipkin_span(span: Span, resource: Attributes) -> dict[str, Any]:
    """One span as Zipkin wants it. Times are microseconds; what takes less than one takes one."""
    context, attributes = span.context, span.attributes
    started_us, ended_us = span.started_ns // 1_000, span.ended_ns // 1_000

    document: dict[str, Any] = {
        "traceId": context.trace_id,
        "id": context.span_id,
        "name": span.name,
        "timestamp": started_us,
        "duration": max(1, ended_us - started_us),
        "localEndpoint": {"serviceName": resource["service.name"]},
        "tags": _tags(span, str(resource.get("service.instance.id", ""))),
    }
    if span.parent_id is not None:
        document["parentId"] = span.parent_id
    if span.moments:
        document["annotations"] = [_annotation(moment) for moment in span.moments]

    if span.kind != INTERNAL:
        document["kind"] = span.kind.upper()
    if span.kind not in (INTERNAL, "server"):
        other = next((attributes[name] for name in _OTHER_SIDE if name in attributes), None)
        if other is not None:
            document["remoteEndpoint"] = {"serviceName": str(other)}
    return document


def _tags(span: Span, instance: str) -> dict[str, str]:
    tags = {name: _text(value) for name, value in span.attributes.items()}
    for number, link in enumerate(span.links):
        tags[f"link.{number}"] = str(link)
    if instance:
        tags["service.instance.id"] = instance
    if span.error:
        tags |= {"otel.status_code": "ERROR", "error": span.error}
    return tags


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _annotation(moment: Moment) -> dict[str, Any]:
    """The form that OpenTelemetry gives events in Zipkin: the name, then attributes as JSON."""
    value = moment.name
    if moment.attributes:
        value = f'"{moment.name}": {msgspec.json.encode(dict(moment.attributes)).decode()}'
    return {"timestamp": moment.at_ns // 1_000, "value": value}
