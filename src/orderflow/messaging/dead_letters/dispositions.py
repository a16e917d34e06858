"""
Dispositions: what becomes of a dead letter, on a compacted topic, by the letter's place.

Key: `<dead-letter topic>/<partition>/<offset>`. Value: JSON, camelCase. The last record of a key
decides; one without a value takes the disposition back. A value that can't be read closes its
letter as well: somebody has dealt with it, in words of a newer version.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.event import rfc3339_ms
from orderflow.messaging.kafka.transactions import Produced

TEXT_MAX = 1_000
"""Characters of `by` and of `reason`: more is cut, for a reason is read in a table."""

UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)


class DispositionKind(StrEnum):
    """What somebody decided. OTHER: written by a newer version, or by a stranger."""

    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"
    OTHER = "OTHER"


class Disposition(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of a letter, who decided it, and why. `at`: aware UTC, in milliseconds.

    `replays`: how often the record was sent back, this time included. `replayed_to`: the topic of
    the copy, which is for the letter's group alone; None for a discarded one.
    """

    kind: DispositionKind
    by: str = ""
    reason: str = ""
    at: datetime = UNKNOWN_TIME
    replays: int = 0
    replayed_to: str | None = None


def disposition_record(topic: str, letter_id: LetterId, disposition: Disposition) -> Produced:
    """The record that says what becomes of a letter."""
    return topic, str(letter_id).encode(), disposition_bytes(disposition), []


def disposition_bytes(disposition: Disposition) -> bytes:
    """The value of a disposition's record. Texts beyond `TEXT_MAX` characters are cut."""
    fields: dict[str, Any] = {
        "kind": disposition.kind.value,
        "by": disposition_text(disposition.by),
        "reason": disposition_text(disposition.reason),
        "at": rfc3339_ms(disposition.at),
        "replays": disposition.replays,
    }
    if disposition.replayed_to is not None:
        fields["replayedTo"] = disposition.replayed_to
    return msgspec.json.encode(fields)


def disposition_text(text: str) -> str:
    """`by` or `reason` as it is written: at most 1,000 characters, and UTF-8 in any case."""
    # What a terminal hands over as an argument may be no text.
    return text.encode("utf-8", "backslashreplace").decode()[:TEXT_MAX]


def read_disposition(value: bytes) -> Disposition:
    """The disposition in a record's value. Never raises: what can't be read is OTHER."""
    try:
        fields = msgspec.json.decode(value, type=_Fields)
        return Disposition(
            kind=_kind(fields.kind),
            by=fields.by,
            reason=fields.reason,
            at=fields.at.astimezone(UTC),
            replays=fields.replays,
            replayed_to=fields.replayed_to,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, ValueError):
        return Disposition(kind=DispositionKind.OTHER)


class _Fields(msgspec.Struct, kw_only=True, rename="camel"):
    """The value on the wire; fields of a newer version are ignored."""

    kind: str
    by: str = ""
    reason: str = ""
    at: datetime = UNKNOWN_TIME
    replays: int = 0
    replayed_to: str | None = None


def _kind(text: str) -> DispositionKind:
    try:
        return DispositionKind(text)
    except ValueError:
        return DispositionKind.OTHER
