"""
The baseline of `bench inventory`: what one writes first. `python -m orderflow.bench.naive_inventory JSON`

Poll a record and give it a database transaction of its own: inbox row, lock each line's stock, decide, update each
line, reservation, outbox row, COMMIT; then the offset, without waiting for it. Its tables are the service's own.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    PaymentSucceeded,
    Shortage,
    StockLine,
    StockRejected,
    StockReserved,
)
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import INVENTORY, PAYMENTS
from orderflow.messaging.event import caused_by, from_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.postgres import Cursor, connect, outbox
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings, RegistrySettings

LISTENER = "naive"
CLAIM = "INSERT INTO inbox (listener, event_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"
LOCK = "SELECT on_hand - reserved FROM stock WHERE sku = %s FOR UPDATE"
RESERVE = "UPDATE stock SET reserved = reserved + %s WHERE sku = %s"
OPEN = "INSERT INTO reservation VALUES (%s, %s, %s, %s, %s, now(), now())"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Read `payments` from these offsets on, by partition."""

    bootstrap_servers: str
    registry_url: str
    dsn: str
    group: str
    start: dict[int, int]


def reserve(cursor: Cursor, event: PaymentSucceeded) -> StockReserved | StockRejected:
    """All lines or none."""
    shortages = []
    for line in sorted(event.lines, key=lambda one: one.sku):
        row = cursor.execute(LOCK, (line.sku,)).fetchone()
        available = row[0] if row else 0
        if available < line.quantity:
            shortages.append(Shortage(sku=line.sku, requested=line.quantity, available=available))
    lines = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in event.lines)
    if not shortages:
        for taken in lines:
            cursor.execute(RESERVE, (taken.quantity, taken.sku))
    status = "REJECTED" if shortages else "RESERVED"
    written = msgspec.json.encode(lines).decode()
    cursor.execute(OPEN, (event.order_id, event.customer_id, event.payment_id, status, written))
    order_id, customer_id, payment, at = (
        event.order_id,
        event.customer_id,
        event.payment_id,
        event.occurred_at,
    )
    if shortages:
        return StockRejected(
            order_id=order_id,
            customer_id=customer_id,
            payment_id=payment,
            reason="OUT_OF_STOCK",
            shortages=tuple(shortages),
            occurred_at=at,
        )
    return StockReserved(
        order_id=order_id, customer_id=customer_id, payment_id=payment, lines=lines, occurred_at=at
    )


def main(task: Task) -> None:
    kafka = KafkaSettings(bootstrap_servers=task.bootstrap_servers)
    registry = Registry(RegistrySettings(url=task.registry_url))
    encoder, decoder = Encoder.load(registry, CATALOGUE, [INVENTORY.name]), Decoder(registry)
    consumer = clients.consumer(kafka, task.group)
    consumer.assign([clients.TopicPartition(PAYMENTS.name, *place) for place in task.start.items()])
    settings = DatabaseSettings.model_validate({"dsn": task.dsn})
    with connect(settings, application_name="naive-inventory", autocommit=True) as connection:
        while True:
            message: Any = consumer.poll(1.0)
            if message is None or message.error() is not None:
                continue
            cause = from_headers(message.headers())
            event = decoder.decode_as(message.value(), PaymentSucceeded)
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute(CLAIM, (LISTENER, cause.id))
                if cursor.rowcount:
                    told = reserve(cursor, event)
                    payload = encoder.encode(INVENTORY.name, told)
                    row = outbox.OutboxRow(
                        topic=INVENTORY.name,
                        key=told.key,
                        payload=payload,
                        metadata=caused_by(
                            cause, told, namespace=NAMESPACE, source="/orderflow/bench"
                        ),
                    )
                    outbox.append(cursor, [row])
            consumer.commit(message=message, asynchronous=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task, strict=False))
