"""
The connectors, as Connect takes them: texts by name. `deploy.apply` puts them there.

A sink reads its topics and their replay topics as one group, keeps its place in that group's
offsets, and lays what it can't read into the group's dead-letter topics: the desk works as for any
other group.
"""

from __future__ import annotations

import msgspec

from orderflow.connect.outbox_source import ORDER_OUTBOX, order_outbox
from orderflow.connect.settings import ConnectSettings
from orderflow.contracts.roster import PAYMENTS_WAREHOUSE, subscribed
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.clients import RECORD_BYTES_MAX
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.postgres import address_of

TABLE = "payments"
LEFT_OUT = ("lines",)
"""Fields of the events that are no column: what is bought is the order's."""


REQUIRED = (
    "paymentId",
    "orderId",
    "customerId",
    "attempt",
    "amountMinor",
    "currency",
    "occurredAt",
)
"""What every payment's event has: the columns that must have a value."""

PASSWORD = "${env:ORDERFLOW_WAREHOUSE_PASSWORD}"  # noqa: S105 - a name
"""
The worker looks it up in its own environment: what a connector's configuration holds, Connect's
topic holds, and its REST interface shows.
"""


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """A connector by name. `group`: the consumer group of a sink, empty for a source."""

    name: str
    config: dict[str, str]
    group: str = ""


def connectors(settings: ConnectSettings) -> list[Connector]:
    """All that `deploy.apply` puts there."""
    return [payments_warehouse(settings), *_outboxes(settings)]


def _outboxes(settings: ConnectSettings) -> list[Connector]:
    """The outbox of the order service, where no relay of ours publishes it."""
    order = settings.order
    if order.relay.publisher != "debezium":
        return []
    if order.database is None:
        raise ConfigurationError("ORDERFLOW_ORDER__DATABASE__DSN is not set: Debezium reads it")
    return [Connector(name=ORDER_OUTBOX, config=order_outbox(order.database))]


def payments_warehouse(settings: ConnectSettings) -> Connector:
    """
    `payments` into the table of that name, one row per payment.

    Exactly once in effect: the sink commits its offsets after the rows, and a row that is written
    again is the same. It deletes nothing, and adds a column where a schema has a new field.
    """
    group = PAYMENTS_WAREHOUSE.group
    (topic,) = PAYMENTS_WAREHOUSE.listens_to
    url, user = _jdbc(settings)

    return Connector(
        name=group,
        group=group,
        config={
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1",
            "topics": ",".join(subscribed(group)),
            "connection.url": url,
            "connection.username": user,
            "connection.password": PASSWORD,
            "connection.pool.min_size": "1",
            "connection.pool.max_size": "2",
            "connection.restart.on.errors": "true",
            "insert.mode": "upsert",
            "delete.enabled": "false",
            "primary.key.mode": "record_value",
            "primary.key.fields": "payment_id",
            "collection.name.format": TABLE,
            "schema.evolution": "basic",
            "use.time.zone": "UTC",
            "batch.size": "2000",
            **_avro(settings),
            **_dead_letters(dead_letter_topic(topic, group).name),
            **_as_row(),
            **{
                f"consumer.override.{name}": value
                for name, value in {
                    "group.id": group,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "earliest",
                    "max.poll.records": "2000",
                    # A killed worker's task is waited for as long; the default is 45 s.
                    "session.timeout.ms": "6000",
                    "heartbeat.interval.ms": "2000",
                }.items()
            },
        },
    )


def _avro(settings: ConnectSettings) -> dict[str, str]:
    return {
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        # Ours are bytes; the default would guess at what they mean, and may fail.
        "header.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "io.apicurio.registry.utils.converter.AvroConverter",
        "value.converter.apicurio.registry.url": settings.apicurio_url,
        # Ids of four bytes, as Confluent's clients write them.
        "value.converter.apicurio.registry.as-confluent": "true",
        "value.converter.apicurio.registry.use-id": "contentId",
        # A schema never changes: what was read once serves for as long as the registry is away.
        "value.converter.apicurio.registry.check-period-ms": "86400000",
        "value.converter.apicurio.registry.fault-tolerant-refresh": "true",
    }


def _dead_letters(topic: str) -> dict[str, str]:
    """A record that can't be read goes there, with Connect's headers, and the next one follows."""
    return {
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": topic,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
        "errors.log.enable": "true",
        # A letter is its record, its evidence, and a stack.
        "producer.override.max.request.size": str(RECORD_BYTES_MAX),
    }


def _as_row() -> dict[str, str]:
    """
    An event as a row. A record that lacks a field of every payment is refused here and not by the
    database: what a transform refuses is a dead letter, what the database refuses ends the task.
    """
    return {
        "transforms": "require,drop,columns",
        "transforms.require.type": "org.apache.kafka.connect.transforms.ValueToKey",
        "transforms.require.fields": ",".join(REQUIRED),
        "transforms.drop.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
        "transforms.drop.exclude": ",".join(LEFT_OUT),
        "transforms.columns.type": "io.debezium.connector.jdbc.transforms.FieldNameTransformation",
        "transforms.columns.column.naming.style": "snake_case",
    }


def _jdbc(settings: ConnectSettings) -> tuple[str, str]:
    """The warehouse as the JDBC driver takes it: URL and user."""
    host, port, database, user = address_of(settings.warehouse.settings())
    # The server names the row in its details: whoever may read the table finds it there.
    return f"jdbc:postgresql://{host}:{port}/{database}?logServerErrorDetail=false", user
