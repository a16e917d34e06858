"""
The baseline of `bench inventory`: what one writes first.

`python -m orderflow.bench.inventory.naive JSON`. Polls a record and gives it a database transaction
of its own: inbox row, lock each line's stock, decide, update each line, reservation, outbox row,
COMMIT; then the offset, without waiting for it. Its tables are the service's own.
"""

from __future__ import annotations

import sys

import msgspec

from orderflow.bench.naive_consumer import Input, messages, open_consumer
from orderflow.bench.service_data import open_connection
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
from orderflow.messaging.event import Metadata, caused_by, from_headers
from orderflow.messaging.postgres import Cursor, outbox
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.trials.records import SOURCE

LISTENER = "naive"
CLAIM = "INSERT INTO inbox (listener, event_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"
LOCK = "SELECT on_hand - reserved FROM stock WHERE sku = %s FOR UPDATE"
RESERVE = "UPDATE stock SET reserved = reserved + %s WHERE sku = %s"
OPEN = "INSERT INTO reservation VALUES (%s, %s, %s, %s, %s, now(), now())"


class Task(Input, frozen=True, kw_only=True):
    dsn: str


def reserve(cursor: Cursor, event: PaymentSucceeded) -> StockReserved | StockRejected:
    """Reserve all lines or none."""
    shortages = _lock_stock(cursor, event)
    lines = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in event.lines)
    if not shortages:
        for line in lines:
            cursor.execute(RESERVE, (line.quantity, line.sku))

    status = "REJECTED" if shortages else "RESERVED"
    encoded = msgspec.json.encode(lines).decode()
    cursor.execute(OPEN, (event.order_id, event.customer_id, event.payment_id, status, encoded))
    if shortages:
        return StockRejected(
            order_id=event.order_id,
            customer_id=event.customer_id,
            payment_id=event.payment_id,
            reason="OUT_OF_STOCK",
            shortages=shortages,
            occurred_at=event.occurred_at,
        )
    return StockReserved(
        order_id=event.order_id,
        customer_id=event.customer_id,
        payment_id=event.payment_id,
        lines=lines,
        occurred_at=event.occurred_at,
    )


def _lock_stock(cursor: Cursor, event: PaymentSucceeded) -> tuple[Shortage, ...]:
    """Lock each line's stock, in one order for all events: no deadlock."""
    shortages = []
    for line in sorted(event.lines, key=lambda line: line.sku):
        row = cursor.execute(LOCK, (line.sku,)).fetchone()
        available = row[0] if row else 0
        if available < line.quantity:
            shortages.append(Shortage(sku=line.sku, requested=line.quantity, available=available))
    return tuple(shortages)


def handle(cursor: Cursor, cause: Metadata, event: PaymentSucceeded, encoder: Encoder) -> None:
    cursor.execute(CLAIM, (LISTENER, cause.id))
    if not cursor.rowcount:
        return

    effect = reserve(cursor, event)
    row = outbox.OutboxRow(
        topic=INVENTORY.name,
        key=effect.key,
        payload=encoder.encode(INVENTORY.name, effect),
        metadata=caused_by(cause, effect, namespace=NAMESPACE, source=SOURCE),
    )
    outbox.append(cursor, [row])


def main(task: Task) -> None:
    registry = Registry(task.registry)
    encoder, decoder = Encoder.load(registry, CATALOGUE, [INVENTORY.name]), Decoder(registry)
    consumer = open_consumer(task, PAYMENTS.name)

    with open_connection(task.dsn) as connection:
        for message in messages(consumer):
            cause = from_headers(message.headers())
            event = decoder.decode_as(message.value(), PaymentSucceeded)
            with connection.transaction(), connection.cursor() as cursor:
                handle(cursor, cause, event, encoder)
            consumer.commit(message=message, asynchronous=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task, strict=False))
