"""
Payments and refunds for `bench copies`: at once, or at moments fixed beforehand in a process of its
own. Each is committed on Kafka in a transaction, as the payment service's relay does it.

`python -m orderflow.bench.copies.load BOOTSTRAP_SERVERS RATE SECONDS SEED RECORDS FILE`
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from orderflow.contracts.events import Event, PaymentRefunded, PaymentSucceeded
from orderflow.contracts.ids import refund_id
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka import clients
from orderflow.messaging.settings import KafkaSettings
from orderflow.trials.open_loop import Schedule, in_threads, wait_until
from orderflow.trials.records import Record, payments

REFUND_EVERY = 20
REFUNDED_LATER = 10
"""A refund follows its payment by so many payments."""

RECORDS_PER_TRANSACTION = 100
PRODUCERS = 4
COMMIT_WITHIN_S = 30.0
SKUS = ("KEYBOARD-01", "MOUSE-01", "MONITOR-27", "CABLE-USB-C", "HEADSET-PRO")

Offsets = dict[int, list[int]]
"""By partition, where records are, in rising order."""


class Written(msgspec.Struct, array_like=True, frozen=True):
    """A record in a transaction of its own, and where it is; CLOCK_MONOTONIC nanoseconds."""

    number: int
    partition: int
    offset: int
    due_ns: int
    begun_ns: int
    committed_ns: int


def with_refunds(count: int, *, draw: random.Random) -> list[Event]:
    """`count` payments, every twentieth of which is refunded as a whole."""
    events: list[Event] = []
    captures = payments(count, skus=SKUS, draw=draw)
    for number, capture in enumerate(captures, start=1):
        events.append(capture)
        if number % REFUND_EVERY == 0:
            events.append(_refund(captures[number - REFUNDED_LATER]))
    return events


def preload(kafka: KafkaSettings, records: Sequence[Record], *, name: str) -> Offsets:
    """Produce the records, 100 in each transaction; returns when the last one is committed."""
    offsets: Offsets = {}

    def note(error: Any, message: Any) -> None:
        if error is None:
            offsets.setdefault(message.partition(), []).append(message.offset())

    producer = _producer(kafka, name)
    for first in range(0, len(records), RECORDS_PER_TRANSACTION):
        producer.begin_transaction()
        for key, value, headers in records[first : first + RECORDS_PER_TRANSACTION]:
            producer.produce(PAYMENTS.name, value, key, headers=_any(headers), on_delivery=note)
        producer.commit_transaction(COMMIT_WITHIN_S)

    if sum(map(len, offsets.values())) != len(records):
        raise OrderflowError("the broker did not take all records: no figure")
    return {partition: sorted(places) for partition, places in offsets.items()}


def paced(
    kafka: KafkaSettings,
    records: Sequence[Record],
    *,
    rate_per_s: float,
    duration_s: float,
    seed: int,
) -> list[Written]:
    """A record in a transaction of its own at each Poisson moment, until one or the other ends."""
    numbers = iter(range(len(records)))
    producers = iter([_producer(kafka, f"paced-{seed}-{number}") for number in range(PRODUCERS)])
    schedule = Schedule(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    written: list[Written] = []

    def write() -> None:
        producer = next(producers)
        for due_ns in schedule.due():
            number = next(numbers, None)
            if number is None:
                return
            written.append(_commit(producer, records[number], number, due_ns))

    in_threads(PRODUCERS, write)
    return written


def _producer(kafka: KafkaSettings, name: str) -> clients.Producer:
    producer = clients.transactional_producer(kafka, f"orderflow.bench.copies.{name}")
    producer.init_transactions(COMMIT_WITHIN_S)
    return producer


def _commit(producer: clients.Producer, record: Record, number: int, due_ns: int) -> Written:
    delivered: list[Any] = []
    key, value, headers = record

    wait_until(due_ns)
    begun_ns = time.monotonic_ns()
    producer.begin_transaction()
    producer.produce(
        PAYMENTS.name,
        value,
        key,
        headers=_any(headers),
        on_delivery=lambda _error, message: delivered.append(message),
    )
    producer.commit_transaction(COMMIT_WITHIN_S)
    committed_ns = time.monotonic_ns()

    # A commit that succeeds has delivered everything before.
    (message,) = delivered
    return Written(number, message.partition(), message.offset(), due_ns, begun_ns, committed_ns)


def _refund(capture: PaymentSucceeded) -> PaymentRefunded:
    return PaymentRefunded(
        order_id=capture.order_id,
        customer_id=capture.customer_id,
        attempt=capture.attempt,
        payment_id=capture.payment_id,
        refund_id=refund_id(capture.payment_id),
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        reason="ORDER_CANCELLED",
        provider_reference=capture.provider_reference,
        occurred_at=capture.occurred_at + timedelta(seconds=1),
    )


def _any(headers: object) -> Any:
    """The client's annotation wants a list of its own kind."""
    return headers


if __name__ == "__main__":
    servers, rate, seconds, seed, source, file = sys.argv[1:]
    written = paced(
        KafkaSettings(bootstrap_servers=servers),
        msgspec.json.decode(Path(source).read_bytes(), type=list[Record]),
        rate_per_s=float(rate),
        duration_s=float(seconds),
        seed=int(seed),
    )
    Path(file).write_bytes(msgspec.json.encode(written))
