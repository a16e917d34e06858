"""Dead letters as the desk hands them out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from tests.support.examples import ORDER_CREATED

from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import Letter, LetterGroup

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FAILED = NOW - timedelta(hours=2, minutes=5)
ORDER = ORDER_CREATED.order_id
DLT = "orders.payment-service.dlt"
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b\u202e"

EVIDENCE = LetterEvidence(
    original_topic="orders",
    original_partition=0,
    original_offset=54,
    original_timestamp=FAILED,
    original_timestamp_type="CreateTime",
    group="payment-service",
    exception_type="orderflow.messaging.errors.Poison",
    message="the record has no ce_id header",
    stack_trace="Traceback (most recent call last):\n  File …\nPoison: …",
    attempts=1,
    first_failure=FAILED,
    last_failure=FAILED + timedelta(seconds=32),
    event_id="019ac5d2-0000-7000-8000-000000000001",
    event_type="orderflow.OrderCreated",
    order_id=ORDER,
)


TEXTS = (
    *("original_topic", "original_timestamp_type", "group", "exception_type", "cause_type"),
    *("message", "stack_trace", "event_id", "event_type", "order_id", "replay_topic"),
    *("original_sha256", "task", "stage", "stage_class"),
)
"""All that the evidence has of strangers' words."""


def a_letter(offset: int = 12, **changes: Any) -> Letter:
    fields: dict[str, Any] = {
        "id": LetterId(DLT, 0, offset),
        "group": "payment-service",
        "topic": "orders",
        "evidence": EVIDENCE,
        "key": ORDER.encode(),
        "value": b"\0\0\0\0\7junk",
        "headers": [("ce_type", b"orderflow.OrderCreated"), ("x-raw", b"\0\xff")],
        "written_at": FAILED + timedelta(seconds=32),
        "size": 812,
    }
    fields |= changes
    return Letter(**{"all_headers": fields["headers"], **fields})


def evil_letter() -> Letter:
    """Every text that a stranger can write does something on a terminal, or forges a line."""
    evil = f"{EVIL}\nforged"
    texts = dict.fromkeys(TEXTS, evil)
    evidence = msgspec.structs.replace(
        EVIDENCE, **texts, replays=1, replay_partition=0, replay_offset=1, cut=(evil,)
    )
    return a_letter(evidence=evidence, key=evil.encode(), headers=[(evil, evil.encode())])


def a_group(**changes: Any) -> LetterGroup:
    fields: dict[str, Any] = {
        "group": "notification-service",
        "topic": "revenue-service-by-customer-repartition",
        "type": "CustomerRevenueChange",
        "cause": "InvalidTextRepresentation ← UnicodeDecodeError",
        "letters": 1_234_567,
        "parked": 12,
        "cut": 3,
        "oldest": NOW - timedelta(days=29, hours=23),
        "newest": NOW,
        "orders": 1_234_567,
        "examples_of_orders": (ORDER,),
        "first_letter": LetterId(
            "revenue-service-by-customer-repartition.notification-service.dlt", 0, 123_456_789
        ),
        "message": "SQLSTATE 22P02 " + "word " * 60,
    }
    return LetterGroup(**fields | changes)
