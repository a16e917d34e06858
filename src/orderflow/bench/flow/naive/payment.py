"""
`python -m orderflow.bench.flow.naive.payment TASK`: one call and one Kafka transaction a record.

With our client's back-off settings: the defaults would cost 100 ms in each transaction.
"""

from __future__ import annotations

import sys

import httpx2
import msgspec

from orderflow.bench.flow.naive.parts import (
    ORDERS,
    PAYMENTS,
    Fact,
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
            fact, message = record.fact, record.message
            charge(client, fact)
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


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
