"""
When a payment is in each copy, seen from outside.

In the warehouse: when a query of another session has answered with its row, asked every few
milliseconds; so it includes the sink's commit, and that query. In the lake: when the exporter has
committed the record's offset, which it does after the file is durable and has its name; so it is a
little later than the file. Both are upper bounds, on the clock of this machine.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Self

from orderflow.bench.copies.load import Offsets, Written
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.kafka.lag import committed_windows, observer
from orderflow.messaging.postgres import Connection, array
from orderflow.messaging.settings import KafkaSettings
from orderflow.trials.latency import Latencies

ROWS_EVERY_S = 0.005
OFFSETS_EVERY_S = 0.02
ASK_WITHIN_S = 5.0

_PRESENT = b"SELECT payment_id FROM payments WHERE payment_id = ANY(%s::text[])"


class Rows:
    """`seen_ns`: by payment, when its row could be read. `window`: for how many rows to ask."""

    def __init__(self, connection: Connection, payments: Iterable[str], *, window: int) -> None:
        self.seen_ns: dict[str, int] = {}
        self._connection = connection
        self._waiting = dict.fromkeys(payments)
        self._window = window

    @property
    def all_seen(self) -> bool:
        return not self._waiting

    def look_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self._look()
            time.sleep(ROWS_EVERY_S)

    def _look(self) -> None:
        # Payments happen in their order: those that are due, or overdue, are the first.
        wanted = list(islice(self._waiting, self._window))
        rows = self._connection.execute(_PRESENT, (array(wanted),)).fetchall()
        now_ns = time.monotonic_ns()
        for (payment,) in rows:
            self.seen_ns[payment] = now_ns
            del self._waiting[payment]


class Committed:
    """What a group has committed of `payments`."""

    def __init__(self, kafka: KafkaSettings, group: str, partitions: Iterable[int]) -> None:
        self._client = observer(kafka, group)
        self._places = [(PAYMENTS.name, partition) for partition in partitions]

    def close(self) -> None:
        self._client.close()

    def offsets(self) -> dict[int, int]:
        windows = committed_windows(self._client, self._places, timeout_s=ASK_WITHIN_S)
        return {partition: window.base for (_topic, partition), window in windows.items()}

    def count(self, of: Offsets) -> int:
        """How many of these records are committed."""
        committed = self.offsets()
        return sum(
            bisect_left(places, committed.get(partition, 0)) for partition, places in of.items()
        )


class Steps:
    """How a group's offsets have grown, noted by a thread for as long as `with` lasts."""

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._steps: dict[int, list[tuple[int, int]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._note, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def add(self, offsets: Mapping[int, int], now_ns: int) -> None:
        """What is committed now."""
        for partition, offset in offsets.items():
            steps = self._steps.setdefault(partition, [])
            if not steps or steps[-1][0] < offset:
                steps.append((offset, now_ns))

    def passed_ns(self, partition: int, offset: int) -> int | None:
        """When the offset of a record was behind what is committed; None: not yet."""
        steps = self._steps.get(partition, [])
        place = bisect_right(steps, offset, key=lambda step: step[0])
        return steps[place][1] if place < len(steps) else None

    def have_passed(self, written: Iterable[Written]) -> bool:
        return all(self.passed_ns(record.partition, record.offset) for record in written)

    def _note(self) -> None:
        while not self._stop.wait(OFFSETS_EVERY_S):
            self.add(self._committed.offsets(), time.monotonic_ns())


def from_commit(
    written: Sequence[Written], payments: Sequence[str], rows: Mapping[str, int], steps: Steps
) -> tuple[Latencies, Latencies, Latencies]:
    """From the answer to a transaction's commit to warehouse and lake; how late it was begun."""
    warehouse, lake, lag = Latencies(), Latencies(), Latencies()
    for record in written:
        lag.record_ns(record.begun_ns - record.due_ns)
        row_ns = rows.get(payments[record.number])
        file_ns = steps.passed_ns(record.partition, record.offset)
        if row_ns is not None:
            warehouse.record_ns(row_ns - record.committed_ns)
        if file_ns is not None:
            lake.record_ns(file_ns - record.committed_ns)
    return warehouse, lake, lag
