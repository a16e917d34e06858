"""The spans of a relay: each row's sending, and the header that names it."""

from __future__ import annotations

import pytest
from tests.support.spans import recorded

from orderflow.messaging.event import CE_ID, TRACEPARENT
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.row_traces import RowTraces
from orderflow.messaging.telemetry.trace_context import send_span_id
from orderflow.messaging.testing.memory_clock import MemoryClock

CAUSE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = "0190b1f4-0000-7000-8000-000000000001"


def row(traceparent: str | None) -> ProducerRecord:
    headers = [(CE_ID, EVENT.encode())]
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent.encode()))
    return ProducerRecord("orders", b"k", b"v", headers)


def test_the_header_names_the_sending_whose_parent_is_what_caused_the_event() -> None:
    traces = RowTraces("order", MemoryClock())
    with recorded() as spans:
        (sent,) = traces.begin([row(CAUSE)])
        assert spans.all == [], "nothing is true before the commit"
        traces.end()
    (send,) = spans.named("send orders")
    (batch,) = spans.named("batch of order-relay")
    assert send.parent_id == CAUSE[36:52]
    assert send.context.span_id == send_span_id(EVENT)
    assert dict(sent.headers)[TRACEPARENT] == str(send.context).encode()
    assert send.links == (batch.context,)


def test_rows_that_are_sent_again_have_the_same_header() -> None:
    """After an abort, or by the next relay: the same bytes."""
    with recorded():
        first, second = (RowTraces("order", MemoryClock()).begin([row(CAUSE)]) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("traceparent", [None, CAUSE[:-2] + "00", "nonsense"])
def test_a_row_that_is_not_sampled_is_sent_as_it_is(traceparent: str | None) -> None:
    traces = RowTraces("order", MemoryClock())
    with recorded() as spans:
        assert traces.begin([row(traceparent)]) == [row(traceparent)]
        traces.end()
    assert spans.all == []


def test_without_tracing_nothing_is_changed() -> None:
    traces = RowTraces("order", MemoryClock())
    assert traces.begin([row(CAUSE)]) == [row(CAUSE)]
    traces.end()
