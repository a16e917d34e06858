"""
What AsyncAPI 3.0.0 allows, as far as our document goes; a name or a value that is not here is
refused.

Written from the specification and its Kafka bindings 0.5.0, because no package carries the
specification's own schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]+$")]
Version = Literal["0.5.0"]


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The base of all."""


class Reference(Strict):
    ref: Annotated[str, msgspec.Meta(pattern=r"^#/")] = msgspec.field(name="$ref")


class License(Strict):
    name: str
    url: str


class Info(Strict):
    title: str
    version: str
    description: str
    license: License


class Server(Strict):
    host: str
    protocol: Literal["kafka"]
    description: str


class TopicConfiguration(Strict, rename=lambda name: name.replace("_", ".")):
    cleanup_policy: list[Literal["delete", "compact"]]
    max_message_bytes: int
    retention_ms: int | msgspec.UnsetType = msgspec.UNSET


class ChannelKafka(Strict):
    topic: str
    topic_configuration: TopicConfiguration
    binding_version: Version
    partitions: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET


class ChannelBindings(Strict):
    kafka: ChannelKafka


class Channel(Strict):
    address: str
    description: str
    messages: dict[Name, Reference]
    bindings: ChannelBindings


class OperationKafka(Strict):
    group_id: dict[str, Any]
    binding_version: Version


class OperationBindings(Strict):
    kafka: OperationKafka


class Operation(Strict):
    action: Literal["send", "receive"]
    channel: Reference
    summary: str
    messages: Annotated[list[Reference], msgspec.Meta(min_length=1)]
    description: str | msgspec.UnsetType = msgspec.UNSET
    bindings: OperationBindings | msgspec.UnsetType = msgspec.UNSET


class Payload(Strict):
    schema_format: Literal[
        "application/vnd.apache.avro;version=1.9.0",
        "application/vnd.aai.asyncapi+json;version=3.0.0",
    ]
    schema: dict[str, Any]


class MessageKafka(Strict):
    key: dict[str, Any]
    schema_id_location: Literal["payload", "header"]
    schema_id_payload_encoding: str
    schema_lookup_strategy: str
    binding_version: Version


class MessageBindings(Strict):
    kafka: MessageKafka


class Message(Strict):
    name: str
    title: str
    summary: str
    content_type: str
    headers: dict[str, Any]
    payload: Payload
    bindings: MessageBindings | msgspec.UnsetType = msgspec.UNSET


class Components(Strict):
    messages: dict[Name, Message]
    schemas: dict[Name, dict[str, Any]]


class Document(Strict):
    asyncapi: Literal["3.0.0"]
    info: Info
    default_content_type: str
    servers: dict[Name, Server]
    channels: dict[str, Channel]
    operations: dict[str, Operation]
    components: Components
