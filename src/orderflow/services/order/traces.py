"""
The trace of an order: one, from the request that placed it to its end.

Whoever changes an order later (a command, a deadline, an operator) continues the order's trace, not
the request's. A change's span has an id derived from the order's revision, so its events can name
the span before it is recorded, and the span is recorded after the commit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from orderflow.messaging.telemetry.trace_context import (
    TraceContext,
    derived_span_id,
    new_trace,
    sampled,
)
from orderflow.messaging.telemetry.traces import Kind, Span, record_spans, sampled_ratio
from orderflow.services.order.model import Order

WRITTEN = "write"


def begin_trace(given: str | None) -> TraceContext:
    """The first span of a new order's trace. The client's trace is continued, if it sent one."""
    return new_trace(ratio=sampled_ratio(), given=given)


def written_in(trace: TraceContext) -> TraceContext:
    """The span in which a new order is written: what its events name, and what the order keeps."""
    return trace.at(derived_span_id(WRITTEN, trace.span_id))


def changed_in(order: Order) -> TraceContext | None:
    """The span of the change that made this revision; None if the order has no trace."""
    began = TraceContext.parse(order.traceparent)
    if began is None:
        return None
    return began.at(derived_span_id("change", order.order_id, str(order.revision)))


def record_placing(
    trace: TraceContext, *, route: str, status: int, given: str | None, times: Mapping[str, int]
) -> None:
    """
    Record the spans of a request for an order. `times`, in nanoseconds since 1970: `began`, and if
    it came so far `submitted` and `written`.
    """
    if not trace.sampled:
        return

    now = time.time_ns()
    parent = TraceContext.parse(given)
    spans = [
        Span(
            name=f"POST {route}",
            kind="server",
            context=trace,
            parent_id=None if parent is None else parent.span_id,
            started_ns=times["began"],
            ended_ns=now,
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "http.response.status_code": status,
            },
            error="" if status < 500 else str(status),
        )
    ]
    if "submitted" in times:
        spans.append(
            Span(
                name="write the order",
                kind="client",
                context=written_in(trace),
                parent_id=trace.span_id,
                started_ns=times["submitted"],
                ended_ns=times.get("written", now),
                attributes={"db.system.name": "postgresql", "peer.service": "postgresql"},
                error="" if status < 400 else str(status),
            )
        )
    record_spans(spans)


def record_change(
    orders: Iterable[Order], name: str, *, kind: Kind, began_ns: int, given: str | None = None
) -> None:
    """
    Record that these orders were changed, after the commit. `given`: the request's own
    `traceparent`, to which the span is linked.
    """
    link = TraceContext.parse(given)

    record_spans(
        Span(
            name=name,
            kind=kind,
            context=context,
            parent_id=began.span_id,
            started_ns=began_ns,
            ended_ns=time.time_ns(),
            attributes={"orderflow.order_id": order.order_id},
            links=() if link is None else (link,),
        )
        for order in orders
        if (context := changed_in(order)) is not None
        and (began := sampled(order.traceparent)) is not None
    )
