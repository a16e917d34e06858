"""One trace for an order's whole life, whoever changes it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from msgspec import structs
from tests.support.spans import Spans, missing_parents, recorded

from orderflow.contracts.events import CancelReason, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.services.order.changes import Origin, traceparent_of
from orderflow.services.order.model import Order, place
from orderflow.services.order.rules import cancel
from orderflow.services.order.traces import (
    begin_trace,
    changed_in,
    record_change,
    record_placing,
    written_in,
)

NOW = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11112222333344445555666677778888-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded() as kept:
        yield kept


def placed(traceparent: str | None) -> Order:
    return place(
        order_id=OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"),
        customer_id=CustomerId("ada"),
        lines=(),
        currency="EUR",
        mode=PaymentMode.ON_REQUEST,
        payment_method=None,
        now=NOW,
        traceparent=traceparent,
    )


def test_whoever_changes_an_order_continues_the_orders_trace_and_is_linked_to_the_own(
    spans: Spans,
) -> None:
    trace = begin_trace(CLIENT)
    times = {"began": 1, "submitted": 2, "written": 3}
    record_placing(trace, route="/orders", status=201, given=CLIENT, times=times)
    order = placed(str(written_in(trace)))
    change = cancel(order, reason=CancelReason.CUSTOMER, now=NOW)
    record_change([change.after], "cancel", kind="server", began_ns=4, given=OTHER)

    assert {span.context.trace_id for span in spans.all} == {CLIENT[3:35]}
    assert missing_parents(spans.all, root=CLIENT[36:52]) == set()
    (cancelling,) = spans.named("cancel")
    assert cancelling.context == changed_in(change.after)
    assert [str(link) for link in cancelling.links] == [OTHER]
    origin = Origin(type="command", id="cancel", traceparent=OTHER)
    assert traceparent_of(change.after, origin) == str(cancelling.context)


def test_an_order_from_before_traces_continues_the_requests() -> None:
    change = cancel(placed(None), reason=CancelReason.CUSTOMER, now=NOW)
    assert traceparent_of(change.after, Origin(type="command", id="x", traceparent=OTHER)) == OTHER


def test_each_revision_has_a_span_of_its_own_and_a_repeated_look_finds_the_same() -> None:
    order = placed(CLIENT)
    later = structs.replace(order, revision=2)
    assert changed_in(order) == changed_in(order) != changed_in(later)


@pytest.mark.parametrize("status", [201, 422, 503])
def test_a_refused_request_has_no_span_of_writing(spans: Spans, status: int) -> None:
    trace = begin_trace(None)
    times = {"began": 1} if status != 201 else {"began": 1, "submitted": 2, "written": 3}
    record_placing(trace, route="/orders", status=status, given=None, times=times)
    assert bool(spans.named("write the order")) == (status == 201)
    (request,) = spans.named("POST /orders")
    assert request.parent_id is None
    assert bool(request.error) == (status == 503)


def test_without_tracing_a_trace_is_begun_and_not_sampled() -> None:
    assert str(begin_trace(None)).endswith("-00")
    assert begin_trace(CLIENT).trace_id == CLIENT[3:35]
