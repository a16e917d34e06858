"""
What a listener with `InboxOutbox` needs of its database, as a protocol, and PostgreSQL behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from orderflow.messaging.postgres import Cursor, Session, inbox, outbox
from orderflow.messaging.postgres.outbox import RowTexts


class EffectDatabase(Protocol):
    """
    Where the effects of a listener's handler are, beside their inbox and their outbox.

    Statements on the cursor of one `transaction` commit as a whole when its block ends, and are
    rolled back when the block raises. Failures that time heals are raised as Transient.
    """

    def transaction(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction, as a block."""

    def claim(self, cursor: Cursor, listener: str, event_ids: Sequence[str]) -> set[str]:
        """
        Add `event_ids`, in their canonical form, to the listener's inbox; those that were not in it
        are returned.
        """

    def append(self, cursor: Cursor, rows: Sequence[RowTexts]) -> None:
        """Add `rows` to the outbox."""


class PostgresEffects:
    """Inbox and outbox on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def transaction(self) -> AbstractContextManager[Cursor]:
        return self._session.pipelined()

    def claim(self, cursor: Cursor, listener: str, event_ids: Sequence[str]) -> set[str]:
        return inbox.claim(cursor, listener, event_ids)

    def append(self, cursor: Cursor, rows: Sequence[RowTexts]) -> None:
        outbox.append_texts(cursor, rows)
