"""
The language of the listener probe: two events, their schemas, its topics. The kit's tests need no
orders.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue

NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
DAYS_7 = timedelta(days=7)


class Asked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    `behaviour`: what the worker's handler does with it.

    `` runs · `fail` always fails · `fail-until:<epoch s>` fails before then · `away-until:<epoch
    s>` finds a resource away before then · `dead` is poison to the handler.
    """

    id: str
    number: int
    behaviour: str = ""
    at: datetime

    @classmethod
    def type_name(cls) -> str:
        return f"probe.{cls.__name__}"

    @property
    def key(self) -> str:
        return self.id

    @property
    def subject(self) -> str:
        return self.id

    @property
    def happened_at(self) -> datetime:
        return self.at


class Told(Asked, frozen=True, kw_only=True, rename="camel"):
    """What an Asked causes."""


class Ignored(Asked, frozen=True, kw_only=True, rename="camel"):
    """Belongs on the topic; no listener handles it."""


def topics(name: str, partitions: int) -> tuple[Topic, Topic]:
    """Where a probe's Asked and Told are."""
    types = (Asked.type_name(), Ignored.type_name())
    return (
        Topic(name=name, key="id", retention=DAYS_7, types=types, partitions=partitions),
        Topic(
            name=f"{name}-told",
            key="id",
            retention=DAYS_7,
            types=(Told.type_name(),),
            partitions=partitions,
        ),
    )


def catalogue(name: str) -> SchemaCatalogue:
    schemas = [
        CommittedSchema(type_name=event.type_name(), version=1, text=_schema(event.__name__))
        for event in (Asked, Told, Ignored)
    ]
    return SchemaCatalogue(schemas, {topic.name: topic.types for topic in topics(name, 1)})


def asked(key: str, number: int, behaviour: str = "") -> Asked:
    now = datetime.now(UTC)
    return Asked(
        id=key,
        number=number,
        behaviour=behaviour,
        at=now.replace(microsecond=now.microsecond // 1000 * 1000),
    )


def _schema(name: str) -> str:
    moment = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [
        {"name": "id", "type": "string"},
        {"name": "number", "type": "int"},
        {"name": "behaviour", "type": "string"},
        {"name": "at", "type": moment},
    ]
    return json.dumps({"type": "record", "name": name, "namespace": "probe", "fields": fields})


def ignored(key: str, number: int) -> Ignored:
    """An event that belongs on the topic, and that no listener handles."""
    event = asked(key, number)
    return Ignored(id=event.id, number=event.number, behaviour=event.behaviour, at=event.at)
