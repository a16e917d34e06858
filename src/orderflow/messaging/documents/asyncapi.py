"""
The AsyncAPI document: which service publishes what on which topic, and which listens to it.

Channels are the topics that carry events, and the dead-letter and replay topics of each listener.
Operations are seen from the service: `send` for each topic it publishes to, `receive` for each it
listens to, with its group. Payloads are the latest committed schemas. Source: AsyncAPI 3.0.0,
Kafka bindings 0.5.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

import orderflow
from orderflow.messaging import event
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.listener import ExactlyOnce, Listener
from orderflow.messaging.schemas.catalogue import SchemaCatalogue, subject
from orderflow.messaging.settings import KafkaSettings

Node = dict[str, Any]

AVRO = "application/vnd.apache.avro;version=1.9.0"
JSON_SCHEMA = "application/vnd.aai.asyncapi+json;version=3.0.0"
KAFKA_BINDING = "0.5.0"
EVENT_HEADERS = "EventHeaders"
DEAD_LETTER = "DeadLetter"
DEAD_LETTER_HEADERS = "DeadLetterHeaders"


def document(
    title: str,
    description: str,
    *,
    topics: Sequence[Topic],
    listeners: Sequence[Listener],
    catalogue: SchemaCatalogue,
) -> Node:
    """The whole document. `topics` without types carry no events and are left out."""
    carrying = [topic for topic in topics if topic.types]
    operations = dict(pair for listener in listeners for pair in _operations(listener))
    messages = {
        _short(name): _message(topic, name, catalogue) for topic in carrying for name in topic.types
    }

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": orderflow.__version__,
            "description": description,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": event.AVRO_CONTENT_TYPE,
        "servers": {"local": _server()},
        "channels": _channels(carrying, listeners),
        "operations": operations,
        "components": {
            "messages": {**messages, DEAD_LETTER: _DEAD_LETTER_MESSAGE},
            "schemas": {EVENT_HEADERS: _EVENT_HEADERS, DEAD_LETTER_HEADERS: _DEAD_LETTER_HEADERS},
        },
    }


def text(document: Node) -> str:
    """The document as it is committed: indented, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _server() -> Node:
    host = KafkaSettings().bootstrap_servers
    return {
        "host": host,
        "protocol": "kafka",
        "description": "The local stack; elsewhere what the settings say",
    }


def _channels(carrying: Sequence[Topic], listeners: Sequence[Listener]) -> Node:
    channels = {topic.name: _channel(topic, topic.types) for topic in carrying}

    for listener in listeners:
        for topic in listener.topics:
            replay = replay_topic(topic, listener.group)
            channels[replay.name] = _channel(replay, topic.types)

            dlt = dead_letter_topic(topic, listener.group)
            channels[dlt.name] = {
                **_channel(dlt, ()),
                "messages": {DEAD_LETTER: _message_ref(DEAD_LETTER)},
            }
    return channels


def _channel(topic: Topic, types: Iterable[str]) -> Node:
    kafka: Node = {
        "topic": topic.name,
        "topicConfiguration": {
            "cleanup.policy": [topic.cleanup.value],
            **(
                {}
                if topic.retention is None
                else {"retention.ms": int(topic.retention.total_seconds() * 1000)}
            ),
            "max.message.bytes": topic.record_bytes_max,
        },
        "bindingVersion": KAFKA_BINDING,
    }
    if topic.partitions is not None:
        kafka["partitions"] = topic.partitions

    return {
        "address": topic.name,
        "description": f"Key: {topic.key}. Records of one key stay in order.",
        "messages": {_short(name): _message_ref(_short(name)) for name in types},
        "bindings": {"kafka": kafka},
    }


def _operations(listener: Listener) -> Iterable[tuple[str, Node]]:
    for topic in listener.publishes:
        yield (
            f"{listener.name}.send.{topic.name}",
            _operation("send", topic, topic.types, f"{listener.name} publishes to {topic.name}"),
        )

    for topic in listener.topics:
        handled = [name for name in topic.types if name in listener.types]
        group = {
            "kafka": {
                "groupId": {"type": "string", "enum": [listener.group]},
                "bindingVersion": KAFKA_BINDING,
            }
        }
        replay, dlt = replay_topic(topic, listener.group), dead_letter_topic(topic, listener.group)
        for source in (topic, replay):
            summary = f"{listener.group} listens to {source.name}"
            yield (
                f"{listener.group}.receive.{source.name}",
                {
                    **_operation("receive", source, handled, summary),
                    "description": _delivery(listener),
                    "bindings": group,
                },
            )

        summary = f"{listener.group} publishes here what it could not handle of {topic.name}"
        yield f"{listener.group}.send.{dlt.name}", _operation("send", dlt, [DEAD_LETTER], summary)


def _operation(action: str, topic: Topic, types: Iterable[str], summary: str) -> Node:
    channel = f"#/channels/{topic.name}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "messages": [{"$ref": f"{channel}/messages/{_short(name)}"} for name in types],
    }


def _delivery(listener: Listener) -> str:
    if isinstance(listener.delivery, ExactlyOnce):
        return "Exactly once: the events it causes and its offset commit in one Kafka transaction."
    return (
        "Inbox and outbox: a repeat is recognised by its ce_id; "
        "effect and events commit together, the offset after them."
    )


def _message(topic: Topic, type_name: str, catalogue: SchemaCatalogue) -> Node:
    latest = catalogue.versions(type_name)[-1]

    return {
        "name": _short(type_name),
        "title": _short(type_name),
        "summary": f"Subject {subject(topic.name, type_name)}, version {latest.version}",
        "contentType": event.AVRO_CONTENT_TYPE,
        "headers": {
            "allOf": [
                {"$ref": f"#/components/schemas/{EVENT_HEADERS}"},
                {"type": "object", "properties": {event.CE_TYPE: {"const": type_name}}},
            ]
        },
        "payload": {"schemaFormat": AVRO, "schema": msgspec.json.decode(latest.text)},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": topic.key},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicRecordNameStrategy",
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _message_ref(name: str) -> Node:
    return {"$ref": f"#/components/messages/{name}"}


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]


def _headers(required: Sequence[str], described: dict[str, str]) -> Node:
    properties = {name: {"type": "string", "description": what} for name, what in described.items()}
    return {"type": "object", "required": [*required], "properties": properties}


_EVENT_HEADERS = _headers(
    (
        event.CE_SPECVERSION,
        event.CE_ID,
        event.CE_TYPE,
        event.CE_SOURCE,
        event.CE_TIME,
        event.CE_SUBJECT,
    ),
    {
        event.CE_SPECVERSION: "1.0: CloudEvents, binary mode",
        event.CE_ID: "The event's id: the same id is the same event, however often it comes",
        event.CE_TYPE: "The schema's full name",
        event.CE_SOURCE: "The service that published it",
        event.CE_TIME: "When it happened: RFC 3339, UTC, milliseconds",
        event.CE_SUBJECT: "The id of what the event is about",
        event.CE_CAUSATION_ID: "The id of the event that caused it; absent at the start of a chain",
        event.CE_CORRELATION_ID: "What the whole chain is about",
        event.CONTENT_TYPE: event.AVRO_CONTENT_TYPE,
        event.TRACEPARENT: "W3C Trace Context",
        event.TRACESTATE: "W3C Trace Context",
    },
)
_DEAD_LETTER_HEADERS = _headers(
    (event.DLT_ORIGINAL_TOPIC, event.DLT_EXCEPTION_FQCN, event.RETRY_ATTEMPTS),
    {
        event.DLT_ORIGINAL_TOPIC: "Where it was",
        event.DLT_ORIGINAL_PARTITION: "int32, big-endian",
        event.DLT_ORIGINAL_OFFSET: "int64, big-endian",
        event.DLT_ORIGINAL_TIMESTAMP: "int64, big-endian: epoch milliseconds",
        event.DLT_ORIGINAL_TIMESTAMP_TYPE: "CreateTime or LogAppendTime",
        event.DLT_ORIGINAL_CONSUMER_GROUP: "The group that could not handle it",
        event.DLT_EXCEPTION_FQCN: "Why: the exception's class",
        event.DLT_EXCEPTION_CAUSE_FQCN: "Its cause's class",
        event.DLT_EXCEPTION_MESSAGE: "The exception's message, without data that it quotes",
        event.DLT_EXCEPTION_STACKTRACE: "Where it was raised",
        event.RETRY_ATTEMPTS: "int32, big-endian: how often it was tried",
        event.FIRST_FAILURE_TIME: "RFC 3339",
        event.LAST_FAILURE_TIME: "RFC 3339",
        event.REPLAY_COUNT: "How often it was sent back",
        event.REPLAY_TOPIC: "Where the replay was that failed; absent if it was none",
        event.REPLAY_PARTITION: "As text",
        event.REPLAY_OFFSET: "As text",
        event.LETTER_CUT: "What was cut to fit: key, headers, value; absent if nothing was",
        event.ORIGINAL_KEY_SIZE: "Bytes of the key that was cut",
        event.ORIGINAL_KEY_SHA256: "SHA-256 of that key, in hexadecimal",
        event.ORIGINAL_HEADERS: "Number of the headers of which some were left out",
        event.ORIGINAL_SIZE: "Bytes of the value that was cut",
        event.ORIGINAL_SHA256: "SHA-256 of that value, in hexadecimal",
    },
)
_DEAD_LETTER_MESSAGE: Node = {
    "name": DEAD_LETTER,
    "title": "Dead letter",
    "summary": "The original key, bytes and headers, and the evidence under Spring's names",
    "contentType": "application/octet-stream",
    "headers": {"$ref": f"#/components/schemas/{DEAD_LETTER_HEADERS}"},
    "payload": {
        "schemaFormat": JSON_SCHEMA,
        "schema": {"description": "The original record's bytes, whatever they are"},
    },
}
