"""The span of a mail. Its place follows from the notification, so that its event can name it."""

from __future__ import annotations

import time

from orderflow.messaging.telemetry.trace_context import (
    TraceContext,
    derived_span_id,
    process_span_id,
    sampled,
)
from orderflow.messaging.telemetry.traces import Span, is_on, record_spans
from orderflow.services.notification.model import Letter

GROUP = "notification-service"


def traceparent_of(letter: Letter) -> str | None:
    """The `traceparent` of the event of a letter's outcome: it names the mail."""
    context = _mail(letter)
    return letter.traceparent if context is None else str(context)


def record_offer(letter: Letter, *, began_ns: int, ended: str, is_final: bool) -> None:
    """Record that a letter was offered to the mail server; `ended`: how, in a word."""
    context = _mail(letter)
    if context is None:
        return
    if not is_final:
        # The next offer is another span: only the last one is what the event names.
        offer = derived_span_id("offer", str(letter.notification_id), str(letter.attempts))
        context = context.at(offer)

    record_spans(
        (
            Span(
                name="send mail",
                kind="client",
                context=context,
                parent_id=process_span_id(GROUP, str(letter.cause_id)),
                started_ns=began_ns,
                ended_ns=time.time_ns(),
                attributes={
                    "peer.service": "mail",
                    "orderflow.outcome": ended,
                    "orderflow.notification": letter.kind,
                    "orderflow.order_id": letter.order_id,
                },
                error="" if ended == "sent" else ended,
            ),
        )
    )


def _mail(letter: Letter) -> TraceContext | None:
    context = sampled(letter.traceparent) if is_on() else None
    if context is None:
        return None
    return context.at(derived_span_id("mail", str(letter.notification_id)))
