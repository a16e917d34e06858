"""
The baseline of `bench payment`: what one writes first, tuned. `python -m orderflow.bench.naive_payment JSON`

Poll a record, decide, and commit its output with its offset: one Kafka transaction for each. With our back-off settings
(the client's defaults cost 100 ms in each transaction) and without a database: it only has to compute.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderCreated, PaymentSucceeded
from orderflow.contracts.ids import payment_id
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.event import caused_by, from_headers, to_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings

TIMEOUT_S = 10.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Read `orders` from these offsets on, by partition."""

    bootstrap_servers: str
    registry_url: str
    group: str
    start: dict[int, int]


def paid(order: OrderCreated) -> PaymentSucceeded:
    identity = payment_id(order.order_id, 1)
    return PaymentSucceeded(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=1,
        payment_id=identity,
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_method=order.payment_method or "",
        provider_reference=identity,
        lines=order.lines,
        occurred_at=order.occurred_at,
    )


def main(task: Task) -> None:
    kafka = KafkaSettings(bootstrap_servers=task.bootstrap_servers)
    registry = Registry(RegistrySettings(url=task.registry_url))
    encoder, decoder = Encoder.load(registry, CATALOGUE, [PAYMENTS.name]), Decoder(registry)
    producer = clients.transactional_producer(kafka, task.group)
    producer.init_transactions(30)
    consumer = clients.consumer(kafka, task.group)
    consumer.assign([clients.TopicPartition(ORDERS.name, *place) for place in task.start.items()])
    while True:
        message: Any = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        event = paid(decoder.decode_as(message.value(), OrderCreated))
        cause = from_headers(message.headers())
        headers: Any = to_headers(
            caused_by(cause, event, namespace=NAMESPACE, source="/orderflow/bench")
        )
        producer.begin_transaction()
        producer.produce(
            PAYMENTS.name, encoder.encode(PAYMENTS.name, event), event.key, headers=headers
        )
        done = clients.TopicPartition(ORDERS.name, message.partition(), message.offset() + 1)
        producer.send_offsets_to_transaction([done], consumer.consumer_group_metadata(), TIMEOUT_S)
        producer.commit_transaction(TIMEOUT_S)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task, strict=False))
