"""A read_committed consumer that notes which record could be read when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka.clients import TopicPartition, consumer
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.settings import KafkaSettings
from orderflow.trials.machine import cpu_seconds

GROUP = "orderflow.bench"
BATCH = 2_000
TICK_S = 0.02
ARRIVED_WITHIN_S = 300.0
SETTLE_S = 1.0


class Notes(Protocol):
    """What is kept of each record."""

    def note(self, message: Any) -> None: ...


class Arrivals:
    """Event ids in the order in which they came, and when (CLOCK_MONOTONIC nanoseconds)."""

    def __init__(self) -> None:
        self.in_order: list[str] = []
        self.at_ns: list[int] = []

    def note(self, message: Any) -> None:
        self.at_ns.append(time.monotonic_ns())
        self.in_order.append(_event_id(message.headers()))

    @property
    def count(self) -> int:
        return len(self.in_order)

    @property
    def ids(self) -> set[str]:
        return set(self.in_order)

    @property
    def duplicates(self) -> int:
        return len(self.in_order) - len(self.ids)


class FirstByKey:
    """`at_ns`: by topic and key, when the first record could be read. `repeated` counts others."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.at_ns: dict[str, dict[str, int]] = {topic: {} for topic in topics}
        self.repeated = 0

    def note(self, message: Any) -> None:
        first, key = self.at_ns[message.topic()], message.key().decode()
        self.repeated += key in first
        first.setdefault(key, time.monotonic_ns())


class Reader:
    """One consumer of whole topics, from their ends on; `with` closes it."""

    def __init__(self, settings: KafkaSettings, *topics: str) -> None:
        places = [(topic, *place) for topic in topics for place in _ends(settings, topic)]
        self._consumer = consumer(settings, GROUP)
        self._consumer.assign([TopicPartition(*place) for place in places])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def collect(self, into: Arrivals, count: int) -> None:
        """Read until `into` holds `count` records. Raises OrderflowError after 300 s."""
        deadline = time.monotonic() + ARRIVED_WITHIN_S
        while into.count < count:
            self._take(into)
            if time.monotonic() > deadline:
                raise OrderflowError(
                    f"{into.count} of {count} records came within {ARRIVED_WITHIN_S:.0f} s"
                )

    def collect_until(self, into: Notes, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self._take(into)

    def settle(self, into: Notes) -> None:
        """Read on for a second: a duplicate may come late."""
        deadline = time.monotonic() + SETTLE_S
        self.collect_until(into, lambda: time.monotonic() >= deadline)

    def _take(self, into: Notes) -> None:
        # poll waits for one record, consume takes what else is there: consume(n, t) alone would
        # wait the whole time for n records, and so add to each latency.
        first = self._consumer.poll(TICK_S)
        if first is None:
            return

        for message in (first, *self._consumer.consume(BATCH, 0)):
            if message.error() is None:
                into.note(message)


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """From the first record that could be read to the last; CPU of one process in that time."""

    per_s: float
    cpu_us_per_record: float
    first_ns: int
    duplicates: int
    missing: int


def measure(reader: Reader, *, expected: set[str], pid: int) -> Throughput:
    """
    Read until as many records came as event ids are `expected`, then a second more.

    Raises OrderflowError when they do not come, or when all come in one batch: no rate then.
    """
    arrivals = Arrivals()
    reader.collect(arrivals, 1)
    first, cpu_before = arrivals.count, cpu_seconds(pid)
    reader.collect(arrivals, len(expected))
    cpu_s = cpu_seconds(pid) - cpu_before
    elapsed_ns = arrivals.at_ns[-1] - arrivals.at_ns[0]
    reader.settle(arrivals)

    # What came in the first batch was there before the clock began.
    measured = len(expected) - first
    if measured <= 0:
        raise OrderflowError(f"all {first} records came at once: too few for a rate")
    return Throughput(
        per_s=measured / (elapsed_ns / 1e9),
        cpu_us_per_record=1e6 * cpu_s / measured,
        first_ns=arrivals.at_ns[0],
        duplicates=arrivals.duplicates,
        missing=len(expected - arrivals.ids),
    )


def _ends(settings: KafkaSettings, topic: str) -> Iterable[tuple[int, int]]:
    return end_offsets(settings, topic).items()


def _event_id(headers: Any) -> str:
    return next(str(value, "utf-8") for name, value in headers if name == CE_ID)
