"""What is claimed: whose numbers are on which topic, and which numbers its writer has given out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orderflow.contracts.topics import NOTIFICATIONS, ORDER_EVENTS
from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.prove.checker import Finding, Seen, check
from orderflow.prove.service_views import MESSAGE_SEQUENCES, ORDER_VERSIONS, ledger


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """
    Each owner's numbers are on the topic once, in order, on one partition.

    `owner` and `number` are fields of the event by their wire names; `ledger_sql` returns the same
    two from the database of `service`.
    """

    topic: Topic
    owner: str
    number: str
    service: str
    ledger_sql: str


VERSIONS = Claim(
    topic=ORDER_EVENTS,
    owner="orderId",
    number="version",
    service="order",
    ledger_sql=ORDER_VERSIONS,
)
SEQUENCES = Claim(
    topic=NOTIFICATIONS,
    owner="customerId",
    number="sequence",
    service="notification",
    ledger_sql=MESSAGE_SEQUENCES,
)
CLAIMS = (VERSIONS, SEQUENCES)


def judge(
    claim: Claim, kafka: KafkaSettings, decoder: Decoder, database: DatabaseSettings
) -> Finding:
    """Judge the whole topic by the ledger. Raises if a record cannot be decoded."""
    numbers = ledger(database, claim.ledger_sql)
    return check(claim.topic.name, claim.topic.key, _records(claim, kafka, decoder), numbers)


def _records(claim: Claim, kafka: KafkaSettings, decoder: Decoder) -> Iterator[Seen]:
    for record in read(kafka, claim.topic.name, follow=False):
        assert record is not None
        _, value = decoder.decode(record.value)
        yield Seen(
            partition=record.partition,
            offset=record.offset,
            key=(record.key or b"").decode(errors="backslashreplace"),
            event_id=(dict(record.headers).get(CE_ID) or b"").decode(),
            owner=value[claim.owner],
            number=value[claim.number],
        )
