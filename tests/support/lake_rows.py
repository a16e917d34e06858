"""Payments as the lake exporter's handler gets them, and what its objects say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
from msgspec.structs import replace
from tests.support.builders import an_order, paid
from tests.support.records import metadata

from orderflow.contracts.events import Event
from orderflow.messaging.event import Attributes
from orderflow.messaging.listener import Received
from orderflow.services.lake.store import Content

NINE = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)


def payment(*, minor: int = 1_000, at: datetime = NINE) -> Any:
    return replace(paid(an_order(minor=minor)), occurred_at=at)


def received(
    event: Event,
    offset: int,
    *,
    partition: int = 0,
    topic: str = "payments",
    event_id: UUID | None = None,
    original: tuple[str, int, int] | None = None,
) -> Received:
    return Received(
        event=event,
        attributes=Attributes.of(metadata(event, event_id)),
        topic=topic,
        partition=partition,
        offset=offset,
        key=event.key.encode(),
        original=original,
    )


def rows(objects: Mapping[str, Content]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each object, in their order."""
    return {name: rows_of(content.body) for name, content in sorted(objects.items())}


def rows_of(body: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.ParquetFile(BytesIO(body)).read().to_pylist()
    return found


def offsets(objects: Mapping[str, Content]) -> dict[str, list[int]]:
    """The offsets in each object, by the last part of its name."""
    return {
        name.removeprefix("payments/"): [row["offset"] for row in found]
        for name, found in rows(objects).items()
    }
