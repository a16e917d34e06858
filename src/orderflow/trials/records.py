"""Valid events put on a topic, as a relay would have; and transactions that warm a broker up."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import uuid_utils.compat as uuids

from orderflow.contracts.events import Event, OrderCreated, OrderLine, PaymentSucceeded
from orderflow.contracts.ids import CustomerId, OrderId, Sku, payment_id
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import SOURCES
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import Headers, started, to_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.telemetry.trace_context import new_trace

Record = tuple[str, bytes, Headers]
"""Key, value, headers."""

SOURCE = "/orderflow/bench"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WARM_UP_TOPIC = "notifications"
"""No service of ours reads it: what warms the broker up is no event, and would be dead letters."""
WARM_UP_BATCH = 20
LINES = (
    OrderLine(sku=Sku("KEYBOARD-01"), quantity=2, unit_price_minor=8_990),
    OrderLine(sku=Sku("MOUSE-01"), quantity=1, unit_price_minor=3_490),
)


def orders(count: int) -> list[OrderCreated]:
    """Orders of two lines each, to be charged at once."""
    return [_order(number) for number in range(count)]


def payments(count: int, *, skus: Sequence[str], draw: random.Random) -> list[PaymentSucceeded]:
    """Payments of three lines each, of different SKUs, one to three pieces."""
    return [_payment(skus, draw) for _ in range(count)]


def payment_of(order: OrderCreated) -> PaymentSucceeded:
    """That its first payment succeeded."""
    return PaymentSucceeded(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=1,
        payment_id=payment_id(order.order_id, 1),
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_method="pm_ok",
        provider_reference=order.order_id,
        lines=order.lines,
        occurred_at=_now(),
    )


def encoded(
    topic: str, events: Iterable[Event], registry: RegistrySettings, *, sampled: float = 1.0
) -> list[Record]:
    """
    The events as they will be on the wire, each with an id and a trace of its own, of which the
    part `sampled` is.
    """
    client = Registry(registry)
    encoder = Encoder.load(client, CATALOGUE, [topic])
    client.close()

    return [
        (
            event.key,
            encoder.encode(topic, event),
            to_headers(
                started(event, source=SOURCES[topic], traceparent=str(new_trace(ratio=sampled)))
            ),
        )
        for event in events
    ]


def produce(servers: KafkaSettings, topic: str, records: Iterable[Record]) -> None:
    """Produce the records; returns when the broker has acknowledged them all."""
    producer = clients.producer(servers, **{"linger.ms": 5})

    headers: Any
    for key, value, headers in records:
        while True:
            try:
                producer.produce(topic, value, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)

    if producer.flush(60):
        raise OrderflowError(f"the broker did not take all records of {topic} within 60 s")


def warm_up(servers: KafkaSettings, seconds: float) -> None:
    """Commit one transaction after another: a broker that just started is several times slower."""
    producer = clients.transactional_producer(servers, "orderflow.bench.warm-up")
    producer.init_transactions(30)

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        producer.begin_transaction()
        for number in range(WARM_UP_BATCH):
            producer.produce(WARM_UP_TOPIC, b"warm", str(number))
        producer.commit_transaction(30)


def _order(number: int) -> OrderCreated:
    order_id = OrderId(str(uuids.uuid7()))

    return OrderCreated(
        order_id=order_id,
        customer_id=CustomerId(f"customer-{number % 1_000}"),
        version=1,
        lines=LINES,
        amount_minor=sum(line.quantity * line.unit_price_minor for line in LINES),
        currency="EUR",
        payment_mode="AUTOMATIC",
        attempt=1,
        payment_id=payment_id(order_id, 1),
        payment_method="pm_ok",
        occurred_at=_now(),
    )


def _payment(skus: Sequence[str], draw: random.Random) -> PaymentSucceeded:
    order_id = OrderId(str(uuids.uuid7()))
    lines = tuple(
        OrderLine(sku=Sku(sku), quantity=draw.randint(1, 3), unit_price_minor=1_000)
        for sku in draw.sample(skus, 3)
    )

    return PaymentSucceeded(
        order_id=order_id,
        customer_id=CustomerId("customer-123"),
        attempt=1,
        payment_id=payment_id(order_id, 1),
        amount_minor=sum(line.quantity * line.unit_price_minor for line in lines),
        currency="EUR",
        payment_method="pm_ok",
        provider_reference=order_id,
        lines=lines,
        occurred_at=_now(),
    )


def _now() -> datetime:
    """Cut to milliseconds, as Avro's timestamps are."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
