"""What is proved: whose numbers are on which topic, and what the database of its writer says at rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from orderflow.contracts.topics import NOTIFICATIONS, ORDER_EVENTS
from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.postgres import connect
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.prove.checker import Finding, Ledger, Seen, check


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """`owner` and `number` are the event's fields by their wire names; `ledger_sql` gives the same two of each fact."""

    topic: Topic
    owner: str
    number: str
    service: str
    ledger_sql: str


SUBJECTS = (
    Subject(
        topic=ORDER_EVENTS,
        owner="orderId",
        number="version",
        service="order",
        ledger_sql="SELECT order_id::text, version FROM order_history WHERE event_id IS NOT NULL",
    ),
    Subject(
        topic=NOTIFICATIONS,
        owner="customerId",
        number="sequence",
        service="notification",
        ledger_sql="SELECT customer_id, sequence FROM delivery",
    ),
)


def judged(
    subject: Subject, kafka: KafkaSettings, decoder: Decoder, database: DatabaseSettings
) -> Finding:
    """The whole topic, from its beginning to its end, held against the ledger. A record nobody can read raises."""
    topic = subject.topic
    return check(topic.name, topic.key, _seen(subject, kafka, decoder), ledger(subject, database))


def ledger(subject: Subject, database: DatabaseSettings) -> Ledger:
    """By owner, the numbers that its writer has given out."""
    found: dict[str, list[int]] = defaultdict(list)
    with (
        connect(database, application_name="prove") as connection,
        connection.cursor("ledger") as cursor,
    ):
        cursor.execute(subject.ledger_sql.encode())
        for owner, number in cursor:
            found[owner].append(number)
    return found


def _seen(subject: Subject, kafka: KafkaSettings, decoder: Decoder) -> Iterator[Seen]:
    for record in read(kafka, subject.topic.name, follow=False):
        assert record is not None
        _, value = decoder.decode(record.value)
        yield Seen(
            partition=record.partition,
            offset=record.offset,
            key=(record.key or b"").decode(errors="backslashreplace"),
            event_id=(dict(record.headers).get(CE_ID) or b"").decode(),
            owner=value[subject.owner],
            number=value[subject.number],
        )
