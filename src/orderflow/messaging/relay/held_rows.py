"""
The rows that a relay holds, as an operator sees them, and what an operator wants of them.

What is wanted is only noted here: the relay does it, within a second or two of streaming, and what
became of it is kept for 35 days. A row that waits behind a refused one of its key goes when that
one has gone or is discarded; there is nothing to decide about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from orderflow.messaging.postgres import (
    Connection,
    Cursor,
    array,
    connect,
    unavailable_when_transient,
)
from orderflow.messaging.postgres.outbox import DECISIONS_TABLE, HELD_TABLE
from orderflow.messaging.relay.hold_decision import DISCARD, RESEND
from orderflow.messaging.relay.settings import RelaySettings

__all__ = [
    "DISCARD",
    "RESEND",
    "Decision",
    "HeldRow",
    "HeldRowContent",
    "count_held",
    "decisions",
    "held_row",
    "held_rows",
    "note_wanted",
]


class HeldRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    An outbox row that is not published; the fields are public and stay.

    `why`: the broker's words, None for a row that waits behind another of its key. `wanted`:
    "resend" or "discard", with who wants it and why. `sending`: the relay is about it just now.
    """

    service: str
    event_id: UUID
    topic: str
    key: str
    type: str
    since: datetime
    bytes: int
    why: str | None
    refusals: int
    sending: bool
    wanted: str | None
    wanted_by: str | None
    because: str | None
    wanted_at: datetime | None


class HeldRowContent(msgspec.Struct, frozen=True, kw_only=True):
    """A held row as it is to be published."""

    row: HeldRow
    headers: dict[str, str]
    payload: bytes


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of what somebody wanted: `outcome` is sent, discarded, or refused again."""

    service: str
    event_id: UUID
    topic: str
    key: str
    type: str
    why: str
    wanted: str
    wanted_by: str
    because: str
    outcome: str
    decided_at: datetime


def held_rows(settings: RelaySettings) -> Sequence[HeldRow]:
    """
    The rows that the relay of a service holds, in the order of its outbox.

    At most as many as a relay holds. Raises Unavailable when the database is away, or has no such
    table yet.
    """
    with _connected(settings) as connection:
        rows = connection.execute(_HELD).fetchall()
    return [_held_row(settings.service, row) for row in rows]


def held_row(settings: RelaySettings, event_id: UUID) -> HeldRowContent | None:
    """One held row with its content; None if it is not held. Raises Unavailable."""
    with _connected(settings) as connection:
        row = connection.execute(_CONTENT, (event_id,)).fetchone()
    if row is None:
        return None
    *fields, headers, payload = row
    return HeldRowContent(
        row=_held_row(settings.service, tuple(fields)), headers=headers, payload=bytes(payload)
    )


def note_wanted(
    settings: RelaySettings, event_ids: Sequence[UUID], *, wanted: str, by: str, because: str
) -> list[UUID]:
    """
    Note that an operator wants these rows to be sent again (RESEND) or passed over (DISCARD).

    Returns those about which it was noted: refused rows that are held, and not being sent just now.
    A later wish replaces an earlier one. Raises Unavailable.
    """
    ids = array([str(event_id) for event_id in event_ids])
    with _connected(settings) as connection:
        rows = connection.execute(_NOTE_WANTED, (wanted, by, because, ids)).fetchall()
    return [row[0] for row in rows]


def decisions(settings: RelaySettings, event_id: UUID) -> Sequence[Decision]:
    """What became of what was wanted of this row, the oldest first. Raises Unavailable."""
    with _connected(settings) as connection:
        rows = connection.execute(_DECISIONS, (event_id,)).fetchall()
    return [_decision(settings.service, row) for row in rows]


def count_held(cursor: Cursor) -> tuple[int, float]:
    """How many rows are held in this database, and for how many seconds the oldest has been."""
    row = cursor.execute(_COUNT).fetchone()
    assert row is not None
    return row[0], float(row[1])


@contextmanager
def _connected(settings: RelaySettings) -> Iterator[Connection]:
    name = f"{settings.group}.held"
    with (
        unavailable_when_transient(),
        connect(settings.database, application_name=name, autocommit=True) as connection,
    ):
        yield connection


def _held_row(service: str, row: Sequence[Any]) -> HeldRow:
    fields = HeldRow.__struct_fields__[1:]
    return HeldRow(service=service, **dict(zip(fields, row, strict=True)))


def _decision(service: str, row: Sequence[Any]) -> Decision:
    fields = Decision.__struct_fields__[1:]
    return Decision(service=service, **dict(zip(fields, row, strict=True)))


_COLUMNS = """event_id, topic, key, headers ->> 'ce_type', since, octet_length(payload), why,
       refusals, sending IS NOT NULL, wanted, wanted_by, because, wanted_at"""
_HELD = f"SELECT {_COLUMNS} FROM {HELD_TABLE} ORDER BY place"  # noqa: S608 - constants, as below
_CONTENT = f"""
SELECT {_COLUMNS}, headers, payload FROM {HELD_TABLE} WHERE event_id = %s
"""  # noqa: S608
_NOTE_WANTED = f"""
UPDATE {HELD_TABLE} SET wanted = %s, wanted_by = %s, because = %s, wanted_at = now()
WHERE event_id = ANY (%s::uuid[]) AND why IS NOT NULL AND sending IS NULL
RETURNING event_id
"""  # noqa: S608
_DECISIONS = f"""
SELECT event_id, topic, key, type, why, wanted, wanted_by, because, outcome, decided_at
FROM {DECISIONS_TABLE} WHERE event_id = %s ORDER BY id
"""  # noqa: S608
_COUNT = f"""
SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(since)), 0)
FROM {HELD_TABLE}
"""  # noqa: S608
