"""Metadata ↔ headers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.strategies import MOMENTS, TEXT

from orderflow.messaging.errors import Poison
from orderflow.messaging.event import (
    CE_ID,
    CE_TYPE,
    Cause,
    EventId,
    Metadata,
    caused_by,
    derived_id,
    from_headers,
    rfc3339_ms,
    started,
    to_headers,
)

METADATA = st.builds(
    Metadata,
    id=st.uuids().map(EventId),
    type=TEXT,
    source=TEXT,
    time=MOMENTS,
    subject=TEXT,
    correlation_id=TEXT,
    causation_id=st.none() | TEXT,
    traceparent=st.none() | TEXT,
    tracestate=st.none() | TEXT,
)


NAMESPACE = uuid4()


@dataclass(frozen=True)
class Happened:
    """An event, as far as its metadata goes."""

    subject: str = "order-1"
    happened_at: datetime = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)

    @classmethod
    def type_name(cls) -> str:
        return "test.Happened"


def test_an_event_that_starts_a_chain_has_a_fresh_id_and_no_cause() -> None:
    first, second = (started(Happened(), source="/test", traceparent="t") for _ in range(2))
    assert first.id != second.id
    assert (first.causation_id, first.correlation_id, first.traceparent) == (None, "order-1", "t")


@given(METADATA)
def test_a_caused_event_continues_the_chain_of_its_cause(cause: Metadata) -> None:
    caused = caused_by(cause, Happened(), namespace=NAMESPACE, source="/test")
    assert caused.causation_id == str(cause.id)
    assert caused.correlation_id == (cause.correlation_id or "order-1")
    assert (caused.traceparent, caused.tracestate) == (cause.traceparent, cause.tracestate)


@given(METADATA)
def test_the_same_cause_gives_the_same_id_whether_its_metadata_is_whole_or_not(
    cause: Metadata,
) -> None:
    remembered = Cause(
        id=cause.id,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
        tracestate=cause.tracestate,
    )
    whole, part = (
        caused_by(origin, Happened(), namespace=NAMESPACE, source="/test")
        for origin in (cause, remembered)
    )
    assert whole == part

    other = caused_by(cause, Happened(), namespace=NAMESPACE, source="/test", index=1)
    assert other.id != whole.id


@given(METADATA)
def test_what_goes_into_headers_comes_out_of_them(metadata: Metadata) -> None:
    assert from_headers(to_headers(metadata)) == metadata


@given(METADATA)
def test_absent_values_make_no_header(metadata: Metadata) -> None:
    names = {name for name, _ in to_headers(metadata)}
    assert ("ce_causationid" in names) == (metadata.causation_id is not None)
    assert ("traceparent" in names) == (metadata.traceparent is not None)


@pytest.mark.parametrize("missing", [CE_ID, CE_TYPE])
def test_a_record_without_identity_is_poison(missing: str) -> None:
    headers = [(CE_ID, str(uuid4()).encode()), (CE_TYPE, b"shop.ParcelShipped")]
    with pytest.raises(Poison, match=missing):
        from_headers([header for header in headers if header[0] != missing])


def test_a_record_without_any_header_is_poison() -> None:
    with pytest.raises(Poison, match=CE_ID):
        from_headers(None)


def test_a_header_without_value_counts_as_absent() -> None:
    headers: list[tuple[str, bytes | None]] = [
        (CE_ID, str(uuid4()).encode()),
        (CE_TYPE, b"t"),
        ("traceparent", None),
    ]
    assert from_headers(headers).traceparent is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CE_ID, CE_TYPE, "ce_time", "other"]),
            st.none() | st.binary(max_size=40),
        )
    )
)
def test_whatever_the_headers_hold_the_answer_is_metadata_or_poison(
    headers: list[tuple[str, bytes | None]],
) -> None:
    with suppress(Poison):
        assert isinstance(from_headers(headers), Metadata)


def test_time_is_shown_in_utc_to_the_millisecond() -> None:
    moment = datetime(2026, 1, 31, 10, 5, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339_ms(moment) == "2026-01-31T09:05:00.123Z"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        rfc3339_ms(datetime(2026, 1, 31, tzinfo=UTC).replace(tzinfo=None))


@given(st.uuids().map(EventId), TEXT, st.integers(0, 9))
def test_the_same_cause_type_and_index_give_the_same_id(
    cause: EventId, event_type: str, index: int
) -> None:
    namespace = UUID(int=1)
    first = derived_id(namespace, cause=cause, event_type=event_type, index=index)
    assert first == derived_id(namespace, cause=cause, event_type=event_type, index=index)
    assert first != derived_id(namespace, cause=cause, event_type=event_type, index=index + 1)


@pytest.mark.parametrize("name", ["ce_subject", "ce_correlationid", "ce_source", "ce_causationid"])
def test_an_attribute_without_bound_is_poison(name: str) -> None:
    with pytest.raises(Poison, match=name):
        from_headers([("ce_id", str(uuid4()).encode()), ("ce_type", b"T"), (name, b"x" * 513)])


def test_a_trace_that_is_too_long_is_left_out() -> None:
    metadata = from_headers(
        [
            ("ce_id", str(uuid4()).encode()),
            ("ce_type", b"T"),
            ("traceparent", b"0" * 129),
            ("tracestate", b"x" * 513),
        ]
    )
    assert (metadata.traceparent, metadata.tracestate) == (None, None)
