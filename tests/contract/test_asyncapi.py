"""
The AsyncAPI document: current, valid, and of exactly the topics, schemas and listeners that there
are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from tests.support.asyncapi_model import Document, Operation, Payload

from orderflow.contracts.roster import TOPICS, TYPES_BY_TOPIC
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.documents import asyncapi
from orderflow.messaging.event import Metadata, to_headers
from orderflow.services.asyncapi import FILE, listeners, text


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text())
    return found


@pytest.fixture(scope="module")
def document(written: dict[str, Any]) -> Document:
    return msgspec.convert(written, Document)


def test_the_committed_document_is_what_the_tables_say_now() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), (
        "run `make docs` and commit docs/asyncapi.json"
    )


def test_only_what_the_specification_allows_is_written(
    written: dict[str, Any], document: Document
) -> None:
    assert json.loads(msgspec.json.encode(document)) == written
    for schema in document.components.schemas.values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_every_reference_leads_somewhere(written: dict[str, Any]) -> None:
    references = list(_references(written))
    assert references
    for reference in references:
        _follow(written, reference)


def test_an_operations_messages_are_its_channels(document: Document) -> None:
    for name, operation in document.operations.items():
        for message in operation.messages:
            assert message.ref.startswith(f"{operation.channel.ref}/messages/"), name


def test_a_payload_is_the_latest_committed_schema(document: Document) -> None:
    found = {name: message.payload for name, message in document.components.messages.items()}
    del found[asyncapi.DEAD_LETTER]
    assert found == {
        name.rpartition(".")[2]: msgspec.convert(
            {
                "schemaFormat": asyncapi.AVRO,
                "schema": json.loads(CATALOGUE.versions(name)[-1].text),
            },
            Payload,
        )
        for name in CATALOGUE.types
    }


def test_channels_are_the_topics_that_carry_events(document: Document) -> None:
    events = {
        topic: {name.rpartition(".")[2] for name in types}
        for topic, types in TYPES_BY_TOPIC.items()
    }
    assert {name: set(document.channels[name].messages) for name in events} == events
    assert set(document.channels) <= {topic.name for topic in TOPICS}


def test_operations_are_what_each_service_says_and_hears(document: Document) -> None:
    for listener in listeners():
        sends = {name for name in document.operations if name.startswith(f"{listener.name}.send.")}
        assert sends == {f"{listener.name}.send.{topic.name}" for topic in listener.publishes}
        heard = {
            message.ref.rpartition("/")[2]
            for name, operation in document.operations.items()
            if name.startswith(f"{listener.group}.receive.")
            for message in operation.messages
        }
        assert heard == {name.rpartition(".")[2] for name in listener.types}


def test_each_topic_of_events_has_one_writer(document: Document) -> None:
    writers = [
        one.channel.ref.removeprefix("#/channels/")
        for one in document.operations.values()
        if _sends(one)
    ]
    assert sorted(writers) == sorted(TYPES_BY_TOPIC)


def test_the_headers_that_we_write_are_described(document: Document) -> None:
    described = document.components.schemas[asyncapi.EVENT_HEADERS]
    written = {name for name, _ in to_headers(_METADATA)}
    assert written == set(described["properties"])
    assert set(described["required"]) <= written


def _sends(operation: Operation) -> bool:
    """Events of its own, not a dead letter."""
    return operation.action == "send" and not operation.channel.ref.endswith(".dlt")


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def _follow(node: Any, reference: str) -> None:
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]


_METADATA = msgspec.convert(
    {
        "id": "0198a0b2-1111-7222-8333-444455556666",
        "type": "t",
        "source": "s",
        "time": "2026-01-31T09:05:00Z",
        "subject": "s",
        "correlation_id": "c",
        "causation_id": "c",
        "traceparent": "t",
        "tracestate": "t",
    },
    Metadata,
)
