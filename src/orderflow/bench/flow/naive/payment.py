"""
`python -m orderflow.bench.flow.naive.payment TASK`: one call and one Kafka transaction a record.

With our client's back-off settings: the defaults would cost 100 ms in each transaction.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import httpx2
import msgspec

from orderflow.bench.flow.naive.parts import (
    ORDERS,
    PAYMENTS,
    Fact,
    Read,
    Task,
    headers_of,
    records,
    subscribe,
)
from orderflow.messaging.kafka import clients

TIMEOUT_S = 10.0


def charge(client: httpx2.Client, fact: Fact) -> None:
    """Raises httpx2.HTTPError unless the money was taken."""
    body = {
        "reference": fact.order_id,
        "amountMinor": fact.amount_minor,
        "currency": fact.currency,
        "token": "pm_ok",
    }
    key = {"Idempotency-Key": fact.order_id}
    client.post("/charges", json=body, headers=key).raise_for_status()


def main(task: Task) -> None:
    producer = clients.transactional_producer(task.kafka, f"naive-payment-{task.worker}")
    producer.init_transactions(30)
    consumer = subscribe(task, "naive-payment", ORDERS)

    with httpx2.Client(base_url=task.provider_url, timeout=TIMEOUT_S, trust_env=False) as client:
        for record in records(consumer):
            charge(client, record.fact)
            try:
                commit(producer, consumer, record)
            except clients.KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                producer.abort_transaction(TIMEOUT_S)
                go_back(consumer, record)


def commit(producer: clients.Producer, consumer: clients.Consumer, record: Read) -> None:
    """Raises KafkaException; after a rebalance the transaction must be aborted."""
    fact, message = record.fact, record.message
    producer.begin_transaction()
    producer.produce(
        PAYMENTS,
        msgspec.json.encode(fact),
        fact.order_id,
        headers=headers_of("PaymentSucceeded", fact),  # type: ignore[arg-type]
    )

    done = clients.TopicPartition(ORDERS, message.partition(), message.offset() + 1)
    group = consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction([done], group, TIMEOUT_S)
    producer.commit_transaction(TIMEOUT_S)


def go_back(consumer: clients.Consumer, record: Read) -> None:
    """To this record, if its partition is still ours; another process reads it otherwise."""
    message = record.message
    with suppress(clients.KafkaException):
        consumer.seek(clients.TopicPartition(ORDERS, message.partition(), message.offset()))


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
