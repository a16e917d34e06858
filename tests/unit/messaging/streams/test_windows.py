"""Windows begin at multiples of their size, in UTC, whatever the clock on the wall says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.streams.windows import TumblingWindows

HOURS = TumblingWindows(timedelta(hours=1))
DAYS = TumblingWindows(timedelta(days=1))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

moments = st.integers(-170 * 365 * 86_400 * 10**6, 330 * 365 * 86_400 * 10**6).map(
    lambda microseconds: EPOCH + timedelta(microseconds=microseconds)
)
sizes = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_window_contains_its_beginning_and_not_its_end() -> None:
    start = at("2026-01-31T09:00:00Z")
    assert HOURS.start_of(start) == start
    assert HOURS.start_of(start + timedelta(hours=1, microseconds=-1)) == start
    assert HOURS.start_of(start + timedelta(hours=1)) == start + timedelta(hours=1)
    assert HOURS.start_of(start - timedelta(microseconds=1)) == start - timedelta(hours=1)


def test_moments_before_1970_have_windows_too() -> None:
    assert HOURS.start_of(at("1969-12-31T23:59:59.999999Z")) == at("1969-12-31T23:00:00Z")
    assert HOURS.start_of(EPOCH) == EPOCH
    assert DAYS.start_of(at("1900-02-28T12:00:00Z")) == at("1900-02-28T00:00:00Z")


def test_the_same_moment_has_the_same_window_and_key_in_every_time_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # The night in which 02:30 comes twice, and that in which it does not come.
    for moment in (
        at("2026-10-25T00:30:00Z"),
        at("2026-10-25T01:30:00Z"),
        at("2026-03-29T01:30:00Z"),
    ):
        for zone in (berlin, timezone(timedelta(hours=5, minutes=45)), UTC):
            start = HOURS.start_of(moment.astimezone(zone))
            assert start == moment - timedelta(minutes=30)
            assert f"{start:%FT%H}" == f"{moment:%FT%H}"


@given(moments, sizes)
def test_windows_cover_time_without_gaps_and_overlaps(moment: datetime, size: timedelta) -> None:
    windows = TumblingWindows(size)
    start = windows.start_of(moment)
    assert start <= moment < start + size
    assert (start - EPOCH) % size == timedelta(0)
    assert windows.start_of(start) == start
    assert windows.start_of(start + size) == start + size
