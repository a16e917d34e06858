"""From POST to the stock event: when each order's events could be read, and each hop's share."""

from __future__ import annotations

import time

import msgspec

from orderflow.bench.inventory.order_poster import Posted
from orderflow.contracts.topics import INVENTORY, ORDERS, PAYMENTS
from orderflow.messaging.settings import KafkaSettings
from orderflow.trials.arrivals import FirstByKey, Reader
from orderflow.trials.latency import Latencies, Percentiles
from orderflow.trials.open_loop import LAG_MAX_MS
from orderflow.trials.processes import generating, python_module

TOPICS = (ORDERS.name, PAYMENTS.name, INVENTORY.name)
HOPS = ("POST → 201", "201 → orders", "orders → payments", "payments → inventory")
ARRIVED_WITHIN_S = 60.0


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """
    `whole`: from the moment the order was due until its stock event could be read.

    `hops` are in the order of `HOPS`. `missing`: orders whose events did not all come within 60 s.
    """

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
    kafka: KafkaSettings, url: str, *, sku: str, rate_per_s: int, seconds: float, seed: int
) -> Flow:
    """Post orders for `sku` at this rate, and read the events that they cause."""
    module = "orderflow.bench.inventory.order_poster"
    command = python_module(module, url, sku, str(rate_per_s), str(seconds), str(seed))
    first = FirstByKey(TOPICS)

    with Reader(kafka, *TOPICS) as reader, generating(command, list[Posted]) as poster:
        reader.collect_until(first, poster.is_over)
        orders = poster.result()

        ids = {order.order_id for order in orders}
        deadline = time.monotonic() + ARRIVED_WITHIN_S
        reader.collect_until(
            first,
            lambda: ids <= first.at_ns[INVENTORY.name].keys() or time.monotonic() > deadline,
        )
    return _flow(orders, first, rate_per_s)


def _flow(orders: list[Posted], first: FirstByKey, rate_per_s: int) -> Flow:
    whole, lag = Latencies(), Latencies()
    hops = {name: Latencies() for name in HOPS}
    missing = 0
    for order in orders:
        lag.record_ns(order.sent_ns - order.due_ns)
        arrived = [
            first.at_ns[topic][order.order_id]
            for topic in TOPICS
            if order.order_id in first.at_ns[topic]
        ]
        if len(arrived) < len(TOPICS):
            missing += 1
            continue

        moments = [order.sent_ns, order.answered_ns, *arrived]
        whole.record_ns(moments[-1] - order.due_ns)
        for name, begin, end in zip(HOPS, moments, moments[1:], strict=False):
            hops[name].record_ns(end - begin)

    return Flow(
        rate_per_s=rate_per_s,
        whole=whole.percentiles(),
        hops={name: latencies.percentiles() for name, latencies in hops.items()},
        generator_lag=lag.percentiles(),
        duplicates=first.repeated,
        missing=missing,
    )
