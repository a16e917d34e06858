"""
The baseline of `bench payment`: what one writes first, tuned.

`python -m orderflow.bench.payment.naive JSON`. Polls a record, decides, and commits its output with
its offset: one Kafka transaction for each. With our back-off settings (the client's defaults cost
100 ms in each transaction) and without a database: it only has to compute.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from orderflow.bench.naive_consumer import Input, messages, open_consumer
from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderCreated, PaymentSucceeded
from orderflow.contracts.ids import payment_id
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.event import caused_by, from_headers, to_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.trials.records import SOURCE

TIMEOUT_S = 10.0


def paid(order: OrderCreated) -> PaymentSucceeded:
    payment = payment_id(order.order_id, 1)

    return PaymentSucceeded(
        order_id=order.order_id,
        customer_id=order.customer_id,
        attempt=1,
        payment_id=payment,
        amount_minor=order.amount_minor,
        currency=order.currency,
        payment_method=order.payment_method or "",
        provider_reference=payment,
        lines=order.lines,
        occurred_at=order.occurred_at,
    )


def main(task: Input) -> None:
    registry = Registry(task.registry)
    encoder, decoder = Encoder.load(registry, CATALOGUE, [PAYMENTS.name]), Decoder(registry)
    producer = clients.transactional_producer(task.kafka, task.group)
    producer.init_transactions(30)
    consumer = open_consumer(task, ORDERS.name)

    for message in messages(consumer):
        event = paid(decoder.decode_as(message.value(), OrderCreated))
        payload = encoder.encode(PAYMENTS.name, event)
        cause = from_headers(message.headers())
        headers: Any = to_headers(caused_by(cause, event, namespace=NAMESPACE, source=SOURCE))

        producer.begin_transaction()
        producer.produce(PAYMENTS.name, payload, event.key, headers=headers)
        done = clients.TopicPartition(ORDERS.name, message.partition(), message.offset() + 1)
        producer.send_offsets_to_transaction([done], consumer.consumer_group_metadata(), TIMEOUT_S)
        producer.commit_transaction(TIMEOUT_S)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Input, strict=False))
