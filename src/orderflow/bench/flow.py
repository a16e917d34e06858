"""From POST to the shelf: when each order's events could be read on their topics, and each hop's share of the way."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from orderflow.bench.latency import Latencies, Percentiles
from orderflow.bench.order_poster import Posted
from orderflow.contracts.topics import INVENTORY, ORDERS, PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.clients import Consumer, TopicPartition, consumer
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.settings import KafkaSettings

TOPICS = (ORDERS.name, PAYMENTS.name, INVENTORY.name)
HOPS = ("POST → 201", "201 → orders", "orders → payments", "payments → inventory")
BATCH = 2_000
TICK_S = 0.02
ARRIVED_WITHIN_S = 60.0
LAG_MAX_MS = 1.0


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """`whole`: from the moment the order was due until its stock event could be read. `hops` in the order of `HOPS`."""

    rate_per_s: int
    whole: Percentiles
    hops: dict[str, Percentiles]
    generator_lag: Percentiles
    duplicates: int
    missing: int

    @property
    def is_void(self) -> bool:
        return self.generator_lag.p99_ms > LAG_MAX_MS


def measure(
    servers: KafkaSettings, url: str, *, sku: str, rate_per_s: int, seconds: float, seed: int
) -> Flow:
    """Post orders for `sku` at this rate, and read what becomes of them."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "posted.json"
        module = "orderflow.bench.order_poster"
        watching = _Watching(servers)
        try:
            poster = subprocess.Popen(
                (
                    sys.executable,
                    "-m",
                    module,
                    url,
                    sku,
                    str(rate_per_s),
                    str(seconds),
                    str(seed),
                    str(file),
                )
            )
            try:
                watching.until(lambda: poster.poll() is not None)
            finally:
                poster.kill()
                poster.wait()
            if not file.exists():
                raise OrderflowError(
                    "the poster ended without a result: an order was refused, or the API is away"
                )
            posted = msgspec.json.decode(file.read_bytes(), type=list[Posted])
            ids = {one.order_id for one in posted}
            deadline = time.monotonic() + ARRIVED_WITHIN_S
            watching.until(
                lambda: ids <= watching.at[INVENTORY.name].keys() or time.monotonic() > deadline
            )
        finally:
            watching.close()
    return _told(posted, watching, rate_per_s)


class _Watching:
    """One read_committed consumer of all topics; `at` says by topic and order when its first event could be read."""

    def __init__(self, servers: KafkaSettings) -> None:
        starts = {topic: end_offsets(servers, topic) for topic in TOPICS}
        self.at: dict[str, dict[str, int]] = {topic: {} for topic in TOPICS}
        self.repeated = 0
        self._consumer: Consumer = consumer(servers, "orderflow.bench")
        self._consumer.assign(
            [TopicPartition(topic, *place) for topic in TOPICS for place in starts[topic].items()]
        )

    def until(self, over: Callable[[], bool]) -> None:
        while not over():
            first = self._consumer.poll(TICK_S)
            if first is None:
                continue
            message: Any
            for message in (first, *self._consumer.consume(BATCH, 0)):
                if message.error() is None:
                    self._note(message.topic(), message.key().decode())

    def close(self) -> None:
        self._consumer.close()

    def _note(self, topic: str, order_id: str) -> None:
        found = self.at[topic]
        if order_id in found:
            self.repeated += 1
        found.setdefault(order_id, time.monotonic_ns())


def _told(posted: list[Posted], watching: _Watching, rate_per_s: int) -> Flow:
    whole, lag = Latencies(), Latencies()
    hops = {name: Latencies() for name in HOPS}
    missing = 0
    for one in posted:
        lag.record_ns(one.sent_ns - one.due_ns)
        reached = [watching.at[topic].get(one.order_id) for topic in TOPICS]
        if None in reached:
            missing += 1
            continue
        moments = [
            one.sent_ns,
            one.answered_ns,
            *(moment for moment in reached if moment is not None),
        ]
        whole.record_ns(moments[-1] - one.due_ns)
        for name, begin, end in zip(HOPS, moments, moments[1:], strict=False):
            hops[name].record_ns(end - begin)
    return Flow(
        rate_per_s=rate_per_s,
        whole=whole.percentiles(),
        hops={name: found.percentiles() for name, found in hops.items()},
        generator_lag=lag.percentiles(),
        duplicates=watching.repeated,
        missing=missing,
    )
