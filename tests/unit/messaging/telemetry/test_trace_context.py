"""What a `traceparent` stands for, and where it is decided whether spans are wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.telemetry.trace_context import (
    TraceContext,
    derived_span_id,
    new_trace,
    process_span_id,
    sampled,
    send_span_id,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_the_flag_sampled_counts_whatever_flags_are_beside_it(flags: str) -> None:
    context = sampled(f"00-{TRACE}-{SPAN}-{flags}")
    assert context == TraceContext(TRACE, SPAN, flags)
    assert str(context) == f"00-{TRACE}-{SPAN}-{flags}"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-02",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0١",
    ],
)
def test_no_other_text_is_sampled(text: str | None) -> None:
    assert sampled(text) is None


@given(st.text(max_size=80))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert sampled(text) is None
    assert new_trace(ratio=1.0, given=text).sampled


def test_the_same_thing_done_about_the_same_ids_is_the_same_span() -> None:
    assert send_span_id("e-1") == send_span_id("e-1")
    assert send_span_id("e-1") != send_span_id("e-2")
    assert process_span_id("a", "e-1") != process_span_id("b", "e-1")
    assert derived_span_id("x", "ab", "c") != derived_span_id("x", "a", "bc")
    assert len(send_span_id("e-1")) == 16


@pytest.mark.parametrize(
    ("ratio", "least", "most"), [(0.0, 0, 0), (0.1, 60, 140), (1.0, 1000, 1000)]
)
def test_of_new_traces_the_wanted_part_is_sampled(ratio: float, least: int, most: int) -> None:
    wanted = sum(new_trace(ratio=ratio).sampled for _ in range(1000))
    assert least <= wanted <= most


def test_of_one_trace_every_process_decides_the_same() -> None:
    begun = [new_trace(ratio=0.5, given=f"00-{TRACE}-{SPAN}-01") for _ in range(10)]
    assert len({context.sampled for context in begun}) == 1
    assert {context.trace_id for context in begun} == {TRACE}
    assert len({context.span_id for context in begun}) == 10


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_client_does_not_decide_what_is_recorded(flags: str) -> None:
    given_text = f"00-{TRACE}-{SPAN}-{flags}"
    assert not new_trace(ratio=0.0, given=given_text).sampled
    assert new_trace(ratio=1.0, given=given_text).sampled
