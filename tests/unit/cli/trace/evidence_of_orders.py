"""Evidence for stories: made up, event by event, or as it was recorded from a running system."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from orderflow.cli.trace.evidence import DeadLetter, Evidence, Handled, Seen

ORDER = "01a22471-6453-716d-a40b-8562707a6662"
CUSTOMER = "customer-123"
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
RECORDED = Path(__file__).parent / "recorded"

SOURCES = {
    "orders": "order",
    "order-events": "order",
    "payments": "payment",
    "inventory": "inventory",
    "notifications": "notification",
}


def after(ms: int) -> datetime:
    return NOON + timedelta(milliseconds=ms)


def said(ms: int) -> str:
    return after(ms).isoformat()


def seen(
    event_id: str,
    name: str,
    topic: str,
    offset: int,
    ms: int,
    *,
    cause: str | None = None,
    source: str | None = None,
    replays: int = 0,
    letter: DeadLetter | None = None,
    **value: Any,
) -> Seen:
    """A record that happened at `ms` after noon and was published 10 ms later."""
    return Seen(
        topic=topic,
        partition=0,
        offset=offset,
        at=after(ms + 10),
        event_id=event_id,
        type=f"orderflow.{name}",
        source=f"/orderflow/{source or SOURCES[topic.partition('.')[0]]}",
        caused_by=cause,
        happened_at=after(ms),
        trace_id="a" * 32,
        value={"orderId": ORDER, "customerId": CUSTOMER, **value},
        replays=replays,
        letter=letter,
    )


def line(record: Seen, group: str, ms: int, outcome: str = "handled", **fields: Any) -> Handled:
    return Handled(position=record.position, group=group, outcome=outcome, at=after(ms), **fields)


def entry(
    ms: int,
    description: str,
    status: str,
    version: int,
    cause: tuple[str, str],
    event_id: str | None = None,
    **who: str,
) -> dict[str, Any]:
    """An entry of the order's history."""
    return {
        "revision": 1,
        "version": version,
        "status": status,
        "description": description,
        "occurredAt": said(ms),
        "eventId": event_id,
        "cause": {"type": cause[0], "id": cause[1], **who},
    }


def order(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "orderId": ORDER,
        "customerId": CUSTOMER,
        "status": status,
        "version": 1,
        "payment": {"attempt": 1, "state": "SUCCEEDED"},
        "stock": "RESERVED",
        "amountMinor": 1_250,
        "currency": "EUR",
        "createdAt": said(0),
        "updatedAt": said(500),
        **fields,
    }


CREATED = seen("created", "OrderCreated", "orders", 0, 0, paymentId="p1", attempt=1)
EVENT_CREATED = seen("event-1", "OrderEvent", "order-events", 0, 0, status="CREATED", version=1)
SUCCEEDED = seen(
    "paid", "PaymentSucceeded", "payments", 0, 100, cause="created", paymentId="p1", attempt=1
)
PLACED = entry(0, "Order has been created", "CREATED", 1, ("command", "place"), "event-1")


def everybody_handled(
    records: Iterable[Seen], *, but: Sequence[tuple[str, str]] = ()
) -> list[Handled]:
    """A line of each listening group for each record, 50 ms after it; `but` for (event, group)."""
    groups = {
        "orders": ("payment-service", "inventory-service", "notification-service"),
        "payments": (
            "order-service",
            "inventory-service",
            "notification-service",
            "revenue-service",
        ),
        "inventory": ("order-service", "notification-service", "order-processor"),
        "order-events": ("notification-service", "order-processor", "analytics-service"),
    }
    return [
        Handled(
            position=record.position,
            group=group,
            outcome="handled",
            at=record.at + timedelta(milliseconds=50),
        )
        for record in records
        for group in groups.get(record.topic, ())
        if (record.event_id, group) not in but
    ]


def recorded(name: str) -> Evidence:
    """What was known of an order of `orderflow demo`, as it was asked and read then."""
    content = json.loads((RECORDED / f"{name}.json").read_text())
    return Evidence(
        **{name: content.get(name) for name in ("order_id", "order", "payments")},
        reservation=content.get("reservation"),
        shipment=content.get("shipment"),
        history=content["history"],
        mails=content["mails"],
        records=msgspec.convert(content["records"], list[Seen]),
        lines=msgspec.convert(content["lines"], list[Handled]),
    )
