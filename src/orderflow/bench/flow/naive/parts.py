"""What the naive listeners share: their task, their records, their inbox and outbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import uuid_utils.compat as uuids

from orderflow.bench.relay import naive as poller
from orderflow.messaging.event import CE_CORRELATION_ID, CE_ID, CE_TYPE
from orderflow.messaging.kafka import clients
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.settings import KafkaSettings

ORDERS, PAYMENTS = "naive-orders", "naive-payments"
INVENTORY, NOTIFICATIONS = "naive-inventory", "naive-notifications"

BOXES = f"CREATE TABLE inbox (event_id text PRIMARY KEY);\n{poller.TABLE}"
CLAIM = "INSERT INTO inbox VALUES (%s) ON CONFLICT DO NOTHING"
APPEND = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject,
                    ce_correlationid)
VALUES (%s, %s, %s, %s, %s, 'naive', now()::text, %s, %s)
"""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """`worker` tells apart the processes of a group."""

    bootstrap_servers: str
    dsn: str
    provider_url: str
    smtp_port: int
    worker: int

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.bootstrap_servers)


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int


class Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every record tells, whatever has happened to the order."""

    order_id: str
    customer_id: str
    amount_minor: int
    currency: str
    lines: list[Line]


class Read(msgspec.Struct, frozen=True):
    event_id: str
    fact: Fact
    message: Any


_decode = msgspec.json.Decoder(Fact).decode


def subscribe(task: Task, group: str, *topics: str) -> clients.Consumer:
    consumer = clients.consumer(task.kafka, group)
    consumer.subscribe(list(topics))
    return consumer


def records(consumer: clients.Consumer) -> Iterator[Read]:
    """One after another, without end."""
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            event_id: Any = dict(message.headers() or ())[CE_ID]
            yield Read(event_id.decode(), _decode(message.value() or b""), message)


def headers_of(kind: str, fact: Fact) -> list[tuple[str, bytes]]:
    return [
        (CE_ID, str(uuids.uuid7()).encode()),
        (CE_TYPE, kind.encode()),
        (CE_CORRELATION_ID, fact.order_id.encode()),
    ]


def claim(cursor: Cursor, record: Read) -> bool:
    """Whether the record is a new one."""
    return cursor.execute(CLAIM, (record.event_id,)).rowcount == 1


def append(cursor: Cursor, topic: str, kind: str, fact: Fact) -> None:
    row = (uuids.uuid7(), topic, fact.order_id, kind, msgspec.json.encode(fact))
    cursor.execute(APPEND, (*row, fact.order_id, fact.order_id))
