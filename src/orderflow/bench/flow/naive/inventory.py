"""
`python -m orderflow.bench.flow.naive.inventory TASK`: one database transaction a record.

Inbox row, lock and update of each line's stock, reservation, outbox row, COMMIT; then the offset,
without waiting for it.
"""

from __future__ import annotations

import sys

import msgspec

from orderflow.bench.flow.naive.parts import (
    BOXES,
    INVENTORY,
    PAYMENTS,
    Fact,
    Task,
    append,
    claim,
    records,
    subscribe,
)
from orderflow.bench.service_data import open_connection
from orderflow.messaging.postgres import Cursor

TABLES = f"""
CREATE TABLE stock (sku text PRIMARY KEY, on_hand bigint NOT NULL, reserved bigint NOT NULL);
CREATE TABLE reservation (
    order_id text PRIMARY KEY, status text NOT NULL, lines jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now());
{BOXES}
"""
STOCK_UP = "INSERT INTO stock SELECT unnest(%s::text[]), 100000000, 0"
LOCK = "SELECT on_hand - reserved FROM stock WHERE sku = %s FOR UPDATE"
RESERVE = "UPDATE stock SET reserved = reserved + %s WHERE sku = %s"
OPEN = "INSERT INTO reservation (order_id, status, lines) VALUES (%s, %s, %s)"


def reserve(cursor: Cursor, fact: Fact) -> bool:
    """Reserve all lines or none; in one order of SKUs, so that nobody locks crosswise."""
    lines = sorted(fact.lines, key=lambda line: line.sku)
    for line in lines:
        row = cursor.execute(LOCK, (line.sku,)).fetchone()
        if row is None or row[0] < line.quantity:
            return False

    for line in lines:
        cursor.execute(RESERVE, (line.quantity, line.sku))
    return True


def handle(cursor: Cursor, fact: Fact) -> None:
    is_reserved = reserve(cursor, fact)
    lines = msgspec.json.encode(fact.lines).decode()
    cursor.execute(OPEN, (fact.order_id, "RESERVED" if is_reserved else "REJECTED", lines))
    append(cursor, INVENTORY, "StockReserved" if is_reserved else "StockRejected", fact)


def main(task: Task) -> None:
    consumer = subscribe(task, "naive-inventory", PAYMENTS)
    with open_connection(task.dsn) as connection:
        for record in records(consumer):
            with connection.transaction(), connection.cursor() as cursor:
                if claim(cursor, record):
                    handle(cursor, record.fact)
            consumer.commit(message=record.message, asynchronous=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
