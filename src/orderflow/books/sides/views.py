"""One service's `books_*` views, over one connection that can only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from orderflow.messaging.postgres import BY_KEY, Cursor, Session
from orderflow.messaging.settings import DatabaseSettings

APPLICATION_NAME = "books"
READ_ONLY = {
    "default_transaction_read_only": "on",
    # All statements of one transaction see the same moment.
    "default_transaction_isolation": "repeatable\\ read",
}
FIRST_UUID = str(UUID(int=0))

Row = tuple[object, ...]


class Views:
    """
    Reads views of one database, which a user who may SELECT them is enough for.

    Looks rows up by their keys, unless `session` has other settings for the server. Every method
    raises Transient when the database can't answer now, or lacks a view.
    """

    def __init__(self, settings: DatabaseSettings, *, session: Mapping[str, str] = BY_KEY) -> None:
        self._session = Session(
            settings, application_name=APPLICATION_NAME, session={**READ_ONLY, **session}
        )

    @contextmanager
    def moment(self) -> Iterator[Cursor]:
        """A cursor whose statements all see the database as it was at the first one."""
        with self._session.transaction() as cursor:
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
