"""
A database in memory for listeners with `InboxOutbox`: an inbox, an outbox, and the statements of
handlers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.postgres.outbox import RowTexts


class Statements:
    """What stands in for a cursor: `execute` notes what it is given, and returns nothing."""

    def __init__(self) -> None:
        self.executed: list[Any] = []
        self.claimed: set[tuple[str, str]] = set()
        self.rows: list[RowTexts] = []

    def execute(self, query: Any, parameters: Any = None) -> None:
        self.executed.append((query, parameters))


class MemoryDatabase:
    """
    See `container.database.EffectDatabase`, which it implements. `effects` are the (query,
    parameters) pairs of committed transactions, in order.

    While `away` is true every transaction raises Unavailable.
    """

    def __init__(self) -> None:
        self.away = False
        self.inbox: set[tuple[str, str]] = set()
        self.outbox: list[RowTexts] = []
        self.effects: list[Any] = []

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        if self.away:
            raise Unavailable("the database in memory is switched off", resource="database")
        statements = Statements()
        yield cast("Cursor", statements)
        # Only reached if the block did not raise: otherwise nothing of it is kept.
        self.inbox |= statements.claimed
        self.outbox += statements.rows
        self.effects += statements.executed

    def claim(self, cursor: Cursor, listener: str, event_ids: Sequence[str]) -> set[str]:
        known = self.inbox | _statements(cursor).claimed
        fresh = {event_id for event_id in event_ids if (listener, event_id) not in known}
        _statements(cursor).claimed |= {(listener, event_id) for event_id in fresh}
        return fresh

    def append(self, cursor: Cursor, rows: Sequence[RowTexts]) -> None:
        _statements(cursor).rows += rows


def _statements(cursor: Cursor) -> Statements:
    return cast("Statements", cursor)
