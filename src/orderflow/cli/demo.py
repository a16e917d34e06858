"""`orderflow demo`: real orders over HTTP, and every record that they cause, seen by us and by Kafka's own consumer."""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
from rich.console import Console

from orderflow.cli import demo_view as view
from orderflow.cli import stack as stack_commands
from orderflow.cli.configuration import tool_settings
from orderflow.cli.console_consumer import Witnessed, console_consumer
from orderflow.cli.records import ReadableRecord, readable_records
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS
from orderflow.messaging.avro import Decoder
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.groups import begin_at
from orderflow.messaging.kafka.reader import Offsets, end_offsets
from orderflow.messaging.registry import Registry
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack import jars
from orderflow.stack.addresses import order_api_url
from orderflow.stack.lifecycle import current
from orderflow.stack.settings import StackSettings

WATCHED = (ORDERS.name, ORDER_EVENTS.name)
ARRIVED_WITHIN_S = 90.0
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/orders", {"customerId": "ada", "lines": [{"sku": "KEYBOARD-01", "quantity": 2}]}),
    (
        "/orders",
        {"customerId": "grace", "lines": [{"sku": "MONITOR-27", "quantity": 1}, {"sku": "DOCK-01", "quantity": 1}]},
    ),
    ("/orders", {"customerId": "linus", "currency": "USD", "lines": [{"sku": "HEADSET-01", "quantity": 3}]}),
    ("/orders", {"customerId": "ada", "lines": [{"sku": "CABLE-USBC-2M", "quantity": 10}]}),
    ("/api/orders", {"customerId": "customer-123"}),
)

Seen = ReadableRecord | Witnessed
Place = tuple[str, int, int]


class Sighting(msgspec.Struct):
    """One record of ours, and when we saw it; `witness` is what Kafka's own consumer saw of it."""

    record: ReadableRecord
    at: float
    witness: Witnessed | None = None


class Arrivals:
    """What came, matched by topic, partition and offset; complete when each order is on both topics, seen by both."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[tuple[Seen, float]] = queue.SimpleQueue()
        self._witnessed: dict[Place, Witnessed] = {}
        self.sightings: dict[Place, Sighting] = {}

    def put(self, seen: Seen) -> None:
        """From any thread."""
        self._inbox.put((seen, time.monotonic()))

    def shown(self, order_ids: set[str], *, until: float) -> Iterator[Sighting]:
        """Each record of these orders, once both have seen it; ends when all are there, or at the deadline."""
        wanted, told = len(WATCHED) * len(order_ids), 0
        while told < wanted and (left := until - time.monotonic()) > 0:
            try:
                seen, at = self._inbox.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
            if seen.key not in order_ids:
                continue
            sighting = self._match(seen, at)
            if sighting is not None:
                told += 1
                yield sighting

    def _match(self, seen: Seen, at: float) -> Sighting | None:
        place = (seen.topic, seen.partition, seen.offset)
        if isinstance(seen, Witnessed):
            self._witnessed[place] = seen
        else:
            self.sightings[place] = Sighting(record=seen, at=at)
        sighting = self.sightings.get(place)
        if sighting is None or sighting.witness is not None or place not in self._witnessed:
            return None
        sighting.witness = self._witnessed[place]
        return sighting


def demo() -> None:
    """
    Start the stack if it does not run, place a few orders, and show each record arrive on `orders` and `order-events`.

    Under each record as we read it stands what Kafka's own console consumer, a Java program, sees of it. Exit 0 only
    if every record was seen by both. The stack stays up.

    \b
    Example:
      orderflow demo
    """
    console = Console(highlight=False)
    stack_commands.up(brokers=current().brokers)
    settings, tools = current(), tool_settings()
    arrivals = Arrivals()
    with _watching(settings, tools.kafka, Decoder(Registry(tools.registry)), arrivals):
        orders, answered = _place_orders(order_api_url(settings), console)
        until = time.monotonic() + ARRIVED_WITHIN_S
        complete = 0
        with console.status("waiting for the records, and for Kafka's console consumer (a Java program) to see them"):
            for sighting in arrivals.shown(set(orders), until=until):
                complete += 1
                late_ms = max(0.0, sighting.at - answered[str(sighting.record.key)]) * 1000
                view.record(console, sighting.record, sighting.witness, late_ms)
    expected = len(WATCHED) * len(orders)
    if complete < expected:
        raise OrderflowError(
            f"{expected - complete} of {expected} records did not arrive within {ARRIVED_WITHIN_S:.0f} s: "
            "see `orderflow status` and `orderflow logs order-relay`"
        )
    records = [sighting.record for sighting in arrivals.sightings.values()]
    view.summary(console, list(orders.values()), records)
    view.farewell(console, order_api_url(settings))


def _place_orders(url: str, console: Console) -> tuple[dict[str, Any], dict[str, float]]:
    """The orders by id, and when each was answered."""
    orders: dict[str, Any] = {}
    answered: dict[str, float] = {}
    console.rule("orders, over HTTP")
    with httpx2.Client(base_url=url, timeout=30) as client:
        for path, body in REQUESTS:
            try:
                response = client.post(path, json=body)
            except httpx2.HTTPError as error:
                raise OrderflowError(f"POST {path} failed ({error}): see `orderflow logs order-api`") from error
            if response.status_code != 201:
                raise OrderflowError(f"POST {path} answered {response.status_code}: {response.text[:300]}")
            order = response.json()
            answered[order["orderId"]] = time.monotonic()
            orders[order["orderId"]] = order
            view.placed(console, path, body, order)
    console.rule("records, as they arrive")
    return orders, answered


@contextmanager
def _watching(settings: StackSettings, kafka: KafkaSettings, decoder: Decoder, arrivals: Arrivals) -> Iterator[None]:
    """From where the topics end now: what others placed before is not shown."""
    classpath = jars.locate(settings.cache_dir).kafka_classpath
    with ExitStack() as running, tempfile.TemporaryDirectory(prefix="orderflow-demo-") as scratch:
        ended = Event()
        for topic in WATCHED:
            ends = end_offsets(kafka, topic)
            group = f"orderflow-demo-{uuid4()}"
            begin_at(kafka, group, topic, ends)
            log = Path(scratch) / f"{topic}.log"
            running.enter_context(console_consumer(kafka, classpath, topic, group=group, log=log, seen=arrivals.put))
            reader = Thread(target=_read, args=(kafka, decoder, topic, ends, ended, arrivals), daemon=True)
            reader.start()
            running.callback(reader.join)
        running.callback(ended.set)
        yield


def _read(kafka: KafkaSettings, decoder: Decoder, topic: str, start: Offsets, ended: Event, arrivals: Arrivals) -> None:
    for record in readable_records(kafka, decoder, topic, start=start):
        if ended.is_set():
            return
        if record is not None:
            arrivals.put(record)
