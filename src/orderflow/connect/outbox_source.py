"""
The order service's outbox by Debezium: a source connector in the place of the relay.

It reads the relay's slot by the relay's publication, and its records are the relay's, to the byte:
key, value, headers. Two differences stay: a header without a value is there, as null, where the
relay leaves it out; and the record's time is when Debezium has read the row, not when it is sent.
"""

from __future__ import annotations

from datetime import timedelta

from orderflow.messaging.event import (
    AVRO_CONTENT_TYPE,
    CE_ID,
    CE_SPECVERSION,
    CONTENT_TYPE,
)
from orderflow.messaging.kafka.clients import RECORD_BYTES_MAX, TRANSACTION_TIMEOUT_MS
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.postgres import address_of
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay.records import HEADER_OF_COLUMN
from orderflow.messaging.relay.settings import slot_of
from orderflow.messaging.settings import DatabaseSettings

ORDER_OUTBOX = "order-outbox"
"""The connector's name."""

PASSWORD = "${env:ORDERFLOW_ORDER_PASSWORD}"  # noqa: S105 - a name
"""The worker looks it up in its own environment."""

_HEARTBEATS = "connect-heartbeat"
TRANSFORMS = "org.apache.kafka.connect.transforms"
STRINGS = "org.apache.kafka.connect.storage.StringConverter"


ORDER_HEARTBEATS = Topic(
    name=f"{_HEARTBEATS}.{ORDER_OUTBOX}",
    key="the connector",
    retention=timedelta(days=1),
    partitions=1,
)
"""With a heartbeat the connector commits where an idle log ends. Nobody reads them."""


def order_outbox(database: DatabaseSettings) -> dict[str, str]:
    """The connector's configuration, for the outbox of the order service in `database`."""
    return outbox_source(database, service="order", name=ORDER_OUTBOX)


def outbox_source(database: DatabaseSettings, *, service: str, name: str) -> dict[str, str]:
    """
    A connector that publishes the outbox of `service` exactly once, its offsets in the records'
    transactions. It creates no topic. Raises ConfigurationError.
    """
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "topic.prefix": name,
        **_database(database),
        **_slot(slot_of(service)),
        **_exactly_once(),
        **_records(),
    }


def _slot(slot: str) -> dict[str, str]:
    return {
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": slot,
        "publication.autocreate.mode": "disabled",
        "table.include.list": f"public.{TABLE}",
        # From where the slot is confirmed: there the relay, or the caretaker, has left off.
        "snapshot.mode": "no_data",
        "offset.mismatch.strategy": "trust_slot",
        # An idle table's slot moves with the server's log, or it would keep all of that.
        "lsn.flush.mode": "connector_and_driver",
        "status.update.interval.ms": "1000",
        "heartbeat.interval.ms": "5000",
        "topic.heartbeat.prefix": _HEARTBEATS,
        # The predecessor's connection may still hold it for a moment.
        "slot.max.retries": "30",
        "slot.retry.delay.ms": "1000",
    }


def _exactly_once() -> dict[str, str]:
    return {
        "exactly.once.support": "required",
        "transaction.boundary": "poll",
        "poll.interval.ms": "10",
        # As the relay's producer: see `kafka.clients`.
        "producer.override.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS),
        "producer.override.max.request.size": str(RECORD_BYTES_MAX),
        "producer.override.compression.type": "lz4",
        "producer.override.linger.ms": "0",
    }


def _records() -> dict[str, str]:
    """The event router, and what makes its records those of the relay."""
    headers = [f"id:header:{CE_ID}", *(f"{column}:header:{to}" for column, to in HEADER_OF_COLUMN)]
    router = {
        "type": "io.debezium.transforms.outbox.EventRouter",
        "table.field.event.id": "id",
        "table.field.event.key": "aggregateid",
        "table.field.event.payload": "payload",
        "route.by.field": "aggregatetype",
        "route.topic.replacement": "${routedByValue}",
        "table.fields.additional.placement": ",".join(headers),
    }

    return {
        "tombstones.on.delete": "false",
        "skipped.operations": "u,d,t",
        # Whoever writes a message into the log would send it to a topic that nobody has made, and
        # everything behind it would wait for that.
        "message.prefix.exclude.list": ".*",
        "extended.headers.enabled": "false",
        "key.converter": STRINGS,
        "header.converter": STRINGS,
        # The payload as it is; heartbeats, which have none, as JSON.
        "value.converter": "io.debezium.converters.BinaryDataConverter",
        "value.converter.delegate.converter.type": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.delegate.converter.type.schemas.enable": "false",
        "transforms": "version,header,router,id,content",
        **_constant_text(CE_SPECVERSION, "1.0"),
        **{f"transforms.router.{key}": value for key, value in router.items()},
        # The router's own header for the id: ours has another name.
        "transforms.id.type": f"{TRANSFORMS}.DropHeaders",
        "transforms.id.headers": "id",
        "transforms.content.type": f"{TRANSFORMS}.InsertHeader",
        "transforms.content.header": CONTENT_TYPE,
        "transforms.content.value.literal": AVRO_CONTENT_TYPE,
    }


def _constant_text(header: str, value: str) -> dict[str, str]:
    """
    A header that looks like a number, and is a text: a field of the row for a moment, because a
    constant header takes 1.0 for a number, and writes 1.
    """
    return {
        "transforms.version.type": f"{TRANSFORMS}.InsertField$Value",
        "transforms.version.static.field": header,
        "transforms.version.static.value": value,
        "transforms.header.type": f"{TRANSFORMS}.HeaderFrom$Value",
        "transforms.header.fields": header,
        "transforms.header.headers": header,
        "transforms.header.operation": "move",
    }


def _database(database: DatabaseSettings) -> dict[str, str]:
    address = address_of(database)
    return {
        "database.hostname": address.host,
        "database.port": str(address.port),
        "database.user": address.user,
        "database.password": PASSWORD,
        "database.dbname": address.database,
    }
