"""How many records are not finished: below the end, without those finished out of order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.lag import unfinished


@st.composite
def windows(draw: st.DrawFn) -> Window:
    end = draw(st.integers(0, 200))
    return Window(
        end,
        tuple(sorted(draw(st.sets(st.integers(0, max(0, end - 1)), max_size=20 if end else 0)))),
    )


@given(windows(), st.integers(0, 250))
def test_the_lag_is_the_number_of_offsets_below_the_end_that_are_not_finished(
    window: Window, end: int
) -> None:
    assert unfinished(window, end=end) == sum(
        not window.is_finished(offset) for offset in range(end)
    )
