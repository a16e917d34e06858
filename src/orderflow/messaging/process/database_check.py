"""Whether a service's database is there, on a connection that nobody else needs."""

from __future__ import annotations

from contextlib import suppress

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Transient, plain
from orderflow.messaging.postgres import Connection, DatabaseError, connect, transient
from orderflow.messaging.settings import DatabaseSettings
from orderflow.messaging.telemetry import logger

ANSWER_WITHIN_S = 1.0
NOT_MIGRATED = "database: not migrated; run it with `--roles migrate`"

log = logger("readiness")


class DatabaseCheck:
    """
    `reasons` asks the database for `table`, and takes at most 6 s; to be called on one thread.

    What the driver says is only logged: it may name hosts and users.
    """

    def __init__(self, settings: DatabaseSettings, *, application_name: str, table: str) -> None:
        self._settings = settings
        self._application_name = application_name
        self._table = table
        self._connection: Connection | None = None
        self._said = ""

    def reasons(self) -> list[str]:
        """Why the database can't be used; empty if it can."""
        try:
            is_there = self._ask()
        except (Transient, DatabaseError) as error:
            self.close()
            self._note(error_text(error))
            return [plain(transient(error) or error)]
        self._note("")
        return [] if is_there else [NOT_MIGRATED]

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DatabaseError):
                connection.close()

    def _ask(self) -> bool:
        if self._connection is None:
            self._connection = connect(
                self._settings, application_name=self._application_name, autocommit=True
            )
        with self._connection.answering_within(ANSWER_WITHIN_S):
            row = self._connection.execute(
                "SELECT to_regclass(%s) IS NOT NULL", (self._table,)
            ).fetchone()
        return row == (True,)

    def _note(self, said: str) -> None:
        if said and said != self._said:
            log.warning("the database can't be used", why=said)
        self._said = said
