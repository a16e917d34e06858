"""Which offsets are finished ↔ the text beside a committed offset."""

from __future__ import annotations

import random
from base64 import b64decode, b64encode
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.finished_offsets import (
    BODY_BYTES_MAX,
    METADATA_BYTES_MAX,
    NO_OFFSET,
    SPAN_MAX,
    UNFINISHED_MAX,
    Window,
    admits,
    decode,
    encode,
    has_room,
    runs_bytes_max,
)

OFFSET_MAX = 2**63 - 1
SPAN_DENSE_MAX = 8 * BODY_BYTES_MAX
RUNS_MAX = BODY_BYTES_MAX // 2
"""As many unfinished offsets fit among finished ones, wherever the first of them is."""
SPARSE_MAX = BODY_BYTES_MAX // 6
OFFSETS_PER_S = 1_450
HOUR_S = 3_600


def admitted(window: Window) -> bool:
    return admits(window.span, len(window.unfinished), runs_bytes_max(window.unfinished))


def spread(base: int, span: int, count: int, seed: int) -> Window:
    """A window whose first offset is unfinished, the others at random."""
    others = random.Random(seed).sample(range(1, span), count - 1) if count > 1 else []
    return Window(base + span, tuple(sorted(base + place for place in {0, *others})))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Any window that `admits` allows: dense, sparse and everything between."""
    dense = draw(st.booleans())
    span = draw(st.integers(1, SPAN_DENSE_MAX if dense else SPAN_MAX - 1))
    count = draw(st.integers(1, min(span, UNFINISHED_MAX - 1 if dense else SPARSE_MAX)))
    base = draw(st.integers(0, OFFSET_MAX - span))
    return spread(base, span, count, draw(st.integers(0, 1_000)))


WORST = [
    spread(OFFSET_MAX - SPAN_DENSE_MAX, SPAN_DENSE_MAX, UNFINISHED_MAX - 1, 1),
    spread(OFFSET_MAX - SPAN_MAX, SPAN_MAX - 1, SPARSE_MAX, 1),
    Window(OFFSET_MAX, tuple(range(OFFSET_MAX - SPAN_DENSE_MAX, OFFSET_MAX, 12))),
    Window(OFFSET_MAX, tuple(range(OFFSET_MAX - SPAN_MAX + 1, OFFSET_MAX, SPAN_MAX // 590))),
    Window(OFFSET_MAX, tuple(range(OFFSET_MAX - 2 * RUNS_MAX + 2, OFFSET_MAX, 2))),
]


@given(windows())
@example(WORST[0])
@example(WORST[1])
@example(WORST[2])
@example(WORST[3])
def test_a_window_that_is_admitted_fits_and_comes_back_the_same(window: Window) -> None:
    assert admitted(window)
    text = encode(window)
    assert len(text.encode()) <= METADATA_BYTES_MAX
    assert decode(text, offset=window.base) == window


@given(
    st.lists(st.tuples(st.integers(1, 3_000), st.booleans(), st.integers(0, 2_000)), max_size=200),
    st.integers(0, 2**40),
)
def test_every_window_on_the_way_of_a_partition_can_be_written(
    steps: list[tuple[int, bool, int]], start: int
) -> None:
    """
    Admit when allowed, finish in any order: at no moment is there a window that does not fit or
    come back.
    """
    window, offset = Window(start), start
    for gap, finishes, which in steps:
        offset += gap
        larger = Window(offset + 1, (*window.unfinished, offset))
        if admitted(larger):
            window = larger
        if finishes and window.unfinished:
            at = which % len(window.unfinished)
            window = Window(window.end, window.unfinished[:at] + window.unfinished[at + 1 :])
        text = encode(window)
        assert len(text) <= METADATA_BYTES_MAX
        assert decode(text, offset=window.base) == window


@given(
    st.lists(st.tuples(st.integers(1, 2**28), st.integers(1, 200)), min_size=1, max_size=30),
    st.integers(0, 1_000),
)
def test_the_bound_holds_whichever_records_finish(parts: list[tuple[int, int]], seed: int) -> None:
    """Stragglers and dense parts, in any order; then some of them finish."""
    offsets, at = [0], 0
    for distance, dense in parts:
        at += distance
        offsets += range(at, at + 2 * dense, 2)
        at += 2 * dense
    bound = runs_bytes_max(offsets)
    draw = random.Random(seed)
    while bound > BODY_BYTES_MAX:
        offsets = offsets[: len(offsets) // 2]
        bound = runs_bytes_max(offsets)
    kept = tuple(offset for offset in offsets if draw.random() < 0.7)
    window = Window(at + 1, kept)
    assert runs_bytes_max(kept) <= bound
    assert len(encode(window)) <= METADATA_BYTES_MAX
    assert decode(encode(window), offset=window.base) == window


def test_one_that_waits_for_an_hour_at_1450_offsets_a_second_stops_nobody() -> None:
    passed = OFFSETS_PER_S * HOUR_S
    in_flight = range(passed - 2 * (RUNS_MAX - 5), passed, 2)
    window = Window(passed, (0, *in_flight))
    assert admitted(window), "with every second one of the last 2,960 offsets in flight"
    assert len(encode(window)) <= METADATA_BYTES_MAX
    assert has_room(passed, 700, runs_bytes_max((0, *in_flight[:699])))
    assert not admits(SPAN_MAX, 1, 1)


def test_many_that_wait_for_an_hour_leave_room_for_hundreds_in_flight() -> None:
    passed = OFFSETS_PER_S * HOUR_S
    stragglers = range(0, passed, passed // 450)
    assert admitted(Window(passed, (*stragglers, *range(passed - 800, passed, 2))))


@pytest.mark.parametrize(
    ("span", "unfinished", "runs_bytes", "fits"),
    [
        (1, 1, 1, True),
        (SPAN_DENSE_MAX, UNFINISHED_MAX - 1, BODY_BYTES_MAX + 1, True),
        (SPAN_DENSE_MAX, UNFINISHED_MAX, 1, False),
        (SPAN_DENSE_MAX + 1, 1, BODY_BYTES_MAX, True),
        (SPAN_DENSE_MAX + 1, 1, BODY_BYTES_MAX + 1, False),
        (SPAN_MAX - 1, 1, BODY_BYTES_MAX, True),
        (SPAN_MAX, 1, 1, False),
    ],
)
def test_a_record_is_admitted_up_to_each_limit(
    span: int, unfinished: int, runs_bytes: int, *, fits: bool
) -> None:
    assert admits(span, unfinished, runs_bytes) is fits


def test_nothing_unfinished_needs_no_text() -> None:
    assert encode(Window(7)) == ""
    assert decode("", offset=7) == decode(None, offset=7) == Window(7)
    assert Window(7).base == 7


@given(windows(), st.data())
def test_what_is_finished_is_all_below_the_end_that_is_not_listed(
    window: Window, data: st.DataObject
) -> None:
    offset = data.draw(
        st.integers(window.base - 3, window.end + 3) | st.sampled_from(window.unfinished)
    )
    assert window.is_finished(offset) == (offset < window.end and offset not in window.unfinished)


@given(windows(), st.data())
def test_damaged_text_never_becomes_another_window(window: Window, data: st.DataObject) -> None:
    text = encode(window)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters(codec="ascii")) + text[at + 1 :]
    if data.draw(st.booleans()):
        damaged = text[:at]
    told: list[str] = []
    try:
        found = decode(damaged, offset=window.base, on_ignored=told.append)
    except ConfigurationError:  # The damage made a newer version of it.
        return
    assert found in (window, Window(window.base))
    # Base64 has bits that say nothing: a text may differ and mean the same.
    assert found == window or not damaged or told


@given(st.text() | st.binary().map(lambda raw: "ofw" + b64encode(raw).decode()))
def test_foreign_text_counts_as_none(text: str) -> None:
    told: list[str] = []
    try:
        assert decode(text, offset=5, on_ignored=told.append) == Window(5)
    except ConfigurationError:
        assert text.startswith("ofw")
    else:
        assert told or not text


def content(text: str) -> bytes:
    return b64decode(text[3:])[:-4]


def sealed(raw: bytes) -> str:
    return "ofw" + b64encode(raw + crc32(raw).to_bytes(4, "big")).decode()


@given(st.binary(max_size=40))
def test_what_our_seal_is_on_but_makes_no_sense_counts_as_none_or_as_a_window_in_order(
    body: bytes,
) -> None:
    found = decode(sealed(b"\x01" + body), offset=3)
    assert found.base == 3
    assert list(found.unfinished) == sorted(set(found.unfinished))
    assert all(3 <= offset < found.end for offset in found.unfinished)


def test_text_for_another_offset_counts_as_none() -> None:
    told: list[str] = []
    text = encode(Window(10, (3, 7)))
    assert decode(text, offset=4, on_ignored=told.append) == Window(4)
    assert "written for offset 3" in told[0]


def test_a_newer_version_stops_the_worker() -> None:
    raw = content(encode(Window(10, (3, 7))))
    with pytest.raises(ConfigurationError, match="newer version"):
        decode(sealed(b"\x02" + raw[1:]), offset=3)


def test_an_offset_that_was_only_to_be_aborted_stops_the_worker() -> None:
    with pytest.raises(ConfigurationError, match="was to be aborted, and is none"):
        decode(NO_OFFSET, offset=0)


@pytest.mark.parametrize(
    "window", [Window(3, (3,)), Window(9, (5, 4)), Window(9, (4, 4)), Window(9, (4, 9))]
)
def test_offsets_out_of_order_are_not_written(window: Window) -> None:
    with pytest.raises(ValueError, match="out of order"):
        encode(window)


def test_a_window_that_was_never_admitted_is_not_cut_but_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode(Window(80_000, tuple(range(0, 80_000, 2))))


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(10, (3, 7)), "ofwAQEDBxFkSbGk"),
        (Window(1_000_000, (300, 301, 302, 40_000)), "ofwAQCsApSCPQORtgIBt/sx3Q=="),
    ],
)
def test_the_text_is_the_same_for_good(window: Window, text: str) -> None:
    """Groups carry it over an upgrade: these bytes may never change their meaning."""
    assert encode(window) == text
    assert decode(text, offset=window.base) == window
