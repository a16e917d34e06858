"""Which of the outbox's days to make and which to drop."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.relay.outbox_partitions import plan

NOW = datetime(2026, 3, 20, 9, 5, tzinfo=UTC)
TODAY = NOW.date()


def days(*offsets: int) -> tuple[date, ...]:
    return tuple(TODAY + timedelta(days=offset) for offset in offsets)


def test_today_and_the_next_seven_days_are_made() -> None:
    assert plan(NOW, existing=(), published_through=None).make == days(0, 1, 2, 3, 4, 5, 6, 7)


def test_what_is_there_is_not_made_again() -> None:
    assert plan(NOW, existing=days(*range(7)), published_through=None).make == days(7)


def test_a_day_goes_when_it_is_seven_days_past_and_published() -> None:
    existing = days(-9, -8, -7, -1, 0)
    assert plan(NOW, existing=existing, published_through=NOW).drop == days(-9, -8)


def test_nothing_goes_before_it_is_known_to_be_published() -> None:
    assert plan(NOW, existing=days(-300, -9), published_through=None).drop == ()


def test_a_relay_that_hangs_behind_keeps_every_day_it_has_not_passed() -> None:
    behind = NOW - timedelta(days=30)
    assert plan(NOW, existing=days(-33, -32, -31, -30, -9), published_through=behind).drop == days(
        -33, -32
    )


@given(
    st.sets(st.integers(-60, 20)),
    st.none() | st.timedeltas(timedelta(days=-60), timedelta()),
)
def test_no_plan_drops_a_row_that_is_young_or_not_published(
    offsets: set[int], behind: timedelta | None
) -> None:
    published_through = None if behind is None else NOW + behind
    made = plan(NOW, existing=days(*offsets), published_through=published_through)
    for day in made.drop:
        ends = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        assert published_through is not None
        assert NOW - ends >= timedelta(days=7)
        assert published_through >= ends
    assert set(made.make) == set(days(*range(8))) - set(days(*offsets))
