"""
How many records are not finished: below the end, without those finished out of order; and what a
group committed, while its coordinator moves.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.lag import committed_windows, unfinished


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


class MovingCoordinator:
    """Refuses as often as there are errors, and then says that offset 7 is committed."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.codes:
            raise KafkaException(KafkaError(self.codes.pop(0)))
        return [TopicPartition(at.topic, at.partition, 7) for at in partitions]

    def poll(self, _timeout: float) -> None:
        return None


def windows_of(client: Any, *, timeout_s: float = 5.0) -> object:
    return committed_windows(cast("Consumer", client), [("orders", 0)], timeout_s=timeout_s)


def test_a_coordinator_that_moves_is_asked_again_and_any_other_refusal_is_not() -> None:
    moving = MovingCoordinator(KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    assert windows_of(moving) == {("orders", 0): Window(7)}
    refusing = MovingCoordinator(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException):
        windows_of(refusing)
    gone = MovingCoordinator(*[KafkaError.NOT_COORDINATOR] * 3)
    with pytest.raises(KafkaException):
        windows_of(gone, timeout_s=-1.0)
