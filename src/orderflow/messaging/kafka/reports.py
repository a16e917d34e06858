"""Where the records of a transaction are, as the broker's delivery reports say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orderflow.messaging.kafka.clients import KafkaError

Place = tuple[str, int]
"""Topic and number of a partition."""
Range = tuple[int, int]
"""The first and the last offset of a transaction's records on one partition."""

OnDelivery = Callable[[KafkaError | None, Any], None]


class Reports:
    """
    The delivery reports of one transaction. Only once it is committed do they say anything.

    `ranges`: by partition; `places`: topic, partition and offset by the number of the record in the
    transaction, if they were asked for one by one. A report that did not come is missing.
    """

    def __init__(self) -> None:
        self.ranges: dict[Place, Range] = {}
        self.places: dict[int, tuple[str, int, int]] = {}

    def note(self, error: KafkaError | None, message: Any) -> None:
        """
        Take the report on a record: a callback of the client.

        Nothing in here may raise: an exception would come out of a `commit` that succeeded.
        """
        offset = None if error is not None else message.offset()
        if offset is None:
            return
        place = message.topic(), message.partition()
        first = self.ranges.get(place)
        # In the order of their offsets, partition by partition.
        self.ranges[place] = (offset if first is None else first[0], offset)

    def of(self, number: int) -> OnDelivery:
        """A callback for the record of this number, which is asked for by itself."""

        def note(error: KafkaError | None, message: Any) -> None:
            self.note(error, message)
            if error is None and message.offset() is not None:
                self.places[number] = message.topic(), message.partition(), message.offset()

        return note
