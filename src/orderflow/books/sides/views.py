"""One service's `books_*` views, over one connection that can only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from orderflow.messaging.postgres import BY_KEY, Connection, Cursor, Session
from orderflow.messaging.settings import DatabaseSettings

APPLICATION_NAME = "books"
READ_ONLY = {
    "default_transaction_read_only": "on",
    # All statements of one transaction see the same moment.
    "default_transaction_isolation": "repeatable\\ read",
}
ANSWER_WITHIN_S = 10
NETWORK_S = 5.0
"""Longer than the server may take: a server that lives answers before, if only that it was slow."""

FIRST_UUID = str(UUID(int=0))

Row = tuple[object, ...]


class Views:
    """
    Reads views of one database, which a user who may SELECT them is enough for.

    Looks rows up by their keys, unless `session` has other settings for the server. A statement may
    take `within_s`. Every method raises Transient when the database can't answer now, or lacks a
    view.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        session: Mapping[str, str] = BY_KEY,
        within_s: int = ANSWER_WITHIN_S,
    ) -> None:
        limits = {**READ_ONLY, "statement_timeout": f"{within_s}s"}
        self._session = Session(
            settings, application_name=APPLICATION_NAME, session={**limits, **session}
        )
        self._within_s = within_s

    @contextmanager
    def moment(self) -> Iterator[Cursor]:
        """A cursor whose statements all see the database as it was at the first one."""
        with self._session.transaction() as cursor:
            connection = cursor.connection
            assert isinstance(connection, Connection)
            with connection.answering_within(self._within_s + NETWORK_S):
                yield cursor

    def rows(self, query: str, parameters: Sequence[object]) -> list[Row]:
        with self.moment() as cursor:
            return rows(cursor, query, parameters)

    def close(self) -> None:
        self._session.close()


def rows(cursor: Cursor, query: str, parameters: Sequence[object]) -> list[Row]:
    """All rows of one statement."""
    return cursor.execute(query.encode(), parameters).fetchall()


def uuids(ids: Sequence[str]) -> list[str]:
    """Those that are UUIDs in their one form: a side that keeps UUIDs has no others."""
    return [each for each in ids if _is_uuid(each)]


def texts(ids: Sequence[str]) -> list[str]:
    """Those that a text column can have: no database has one with a NUL in it."""
    return [each for each in ids if "\0" not in each]


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
