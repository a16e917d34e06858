"""A read_committed consumer that notes which `ce_id` could be read when; it begins where the topic ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka.clients import TopicPartition, consumer
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.settings import KafkaSettings

BATCH = 2_000
TICK_S = 0.05


class Arrivals:
    """Ids in the order in which they came, and when (CLOCK_MONOTONIC nanoseconds)."""

    def __init__(self) -> None:
        self.in_order: list[str] = []
        self.at_ns: list[int] = []

    @property
    def count(self) -> int:
        return len(self.in_order)

    @property
    def ids(self) -> set[str]:
        return set(self.in_order)

    @property
    def duplicates(self) -> int:
        return len(self.in_order) - len(self.ids)


class Reader:
    """One consumer of one topic, without a group; `with` closes it."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        starts = end_offsets(settings, topic)
        self._consumer = consumer(settings, "orderflow.bench")
        self._consumer.assign(
            [TopicPartition(topic, partition, offset) for partition, offset in starts.items()]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def collect(self, into: Arrivals, count: int, *, within_s: float) -> None:
        """Until `into` holds `count` records. Raises OrderflowError when they do not come."""
        deadline = time.monotonic() + within_s
        while into.count < count:
            self._take(into)
            if time.monotonic() > deadline:
                raise OrderflowError(
                    f"{into.count} of {count} records came within {within_s:.0f} s"
                )

    def collect_until(self, into: Arrivals, over: Callable[[], bool]) -> None:
        while not over():
            self._take(into)

    def settle(self, into: Arrivals, seconds: float) -> None:
        """Read on for a while: a duplicate may come late."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._take(into)

    def _take(self, into: Arrivals) -> None:
        # One record with patience, then what else is there: consume(n, t) would wait the whole time.
        first = self._consumer.poll(TICK_S)
        if first is None:
            return
        for message in (first, *self._consumer.consume(BATCH, 0)):
            if message.error() is None:
                into.at_ns.append(time.monotonic_ns())
                into.in_order.append(_id(message.headers()))


def _id(headers: Any) -> str:
    return next(str(value, "utf-8") for name, value in headers if name == CE_ID)
