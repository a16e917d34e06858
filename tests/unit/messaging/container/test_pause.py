"""A partition that is taken away while it is paused or resumed ends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from tests.support.memory_listener import MemoryListener

from orderflow.messaging.container.client.assignment import Assignment
from orderflow.messaging.container.records.partition import restored
from orderflow.messaging.kafka.clients import Consumer, KafkaError, KafkaException


class RefusingConsumer:
    """A consumer that knows none of the partitions any more, as scripted."""

    def __init__(self) -> None:
        self.refuses = True

    def pause(self, _partitions: Sequence[Any]) -> None:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))

    resume = pause


def test_a_partition_that_can_not_be_paused_is_paused_by_a_later_turn() -> None:
    consumer = RefusingConsumer()
    settings = MemoryListener().workers[0].container._settings
    assignment = Assignment(settings, cast("Consumer", consumer))
    partition = restored(("asked", 0), 0, "")

    states = []
    for refuses in (True, False):
        consumer.refuses = refuses
        assignment.pause([partition])
        states.append(partition.paused)
    consumer.refuses = True
    assignment.resume([partition])
    assert [*states, partition.paused] == [False, True, True]
