"""*kit*: dead letters as the desk has read them, without a broker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orderflow.messaging.dead_letters.dispositions import Disposition
from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import Letter

DLT = "orders.payment-service.dlt"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def a_letter(
    offset: int,
    *,
    original: int | None = 0,
    key: bytes | None = b"order-1",
    replays: int = 0,
    cut: tuple[str, ...] = (),
    event_type: str | None = "orderflow.OrderCreated",
    exception_type: str | None = "orderflow.messaging.errors.Poison",
    disposition: Disposition | None = None,
) -> Letter:
    """Written `offset` seconds after noon. Without `original` it has no evidence."""
    return Letter(
        id=LetterId(DLT, 0, offset),
        group="payment-service",
        topic="orders",
        evidence=LetterEvidence(
            original_topic=None if original is None else "orders",
            original_partition=None if original is None else 1,
            original_offset=original,
            exception_type=exception_type,
            message=f"message {offset}",
            replays=replays,
            cut=cut,
            event_type=event_type,
            order_id=key.decode(errors="replace") if key else None,
        ),
        key=key,
        value=b"v",
        headers=[],
        all_headers=[],
        written_at=NOON + timedelta(seconds=offset),
        size=100,
        disposition=disposition,
    )
