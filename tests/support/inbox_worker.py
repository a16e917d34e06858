"""
The database half of an InboxOutbox listener, as the container runs it, on a real database and
without a broker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from tests.support.databases import database_settings

from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.listener import InboxOutbox, Listener, Received
from orderflow.messaging.postgres import inbox

TRIES_MAX = 50


class Worker:
    """
    Inbox, handler and commit in one transaction, repeated after a transient error. `retries`
    counts those.
    """

    def __init__(self, url: str, listener: Listener) -> None:
        assert isinstance(listener.delivery, InboxOutbox)
        self.session = postgres.Session(
            database_settings(url), application_name=f"{listener.name}-test"
        )
        self.listener = listener
        self.handler = listener.delivery.handler
        self.retries = 0

    def handle(self, *records: Received) -> list[Any]:
        """The events that the handler returned for the records that were new to the inbox."""
        ids = [record.attributes.id for record in records]
        for _ in range(TRIES_MAX):
            try:
                with self.session.transaction() as cursor:
                    fresh = inbox.claim(cursor, self.listener.name, ids)
                    batch = [record for record in records if record.attributes.id in fresh]
                    return [event for _, event in self.handler(cursor, batch)] if batch else []
            except Transient:
                self.retries += 1
        raise AssertionError(f"rolled back {TRIES_MAX} times")

    def rows(self, table: str) -> list[tuple[object, ...]]:
        """
        Every row with its place: a row that is written again, even with the same values, differs.
        """
        with self.session.transaction() as cursor:
            cursor.execute(f"SELECT ctid::text, xmin::text, * FROM {table} ORDER BY 3".encode())
            return cursor.fetchall()

    def statements(self, batch: Sequence[Received]) -> int:
        """How many statements the handler executes for a batch."""
        with self.session.transaction() as cursor:
            spy = Spy(cursor)
            list(self.handler(cast("postgres.Cursor", spy), batch))
            return spy.executed

    def handle_blindly(self, *records: Received, blind_to: str) -> None:
        """
        Run the handler while statements that contain `blind_to` return no rows, as in an old
        snapshot.
        """
        with self.session.transaction() as cursor:
            list(self.handler(cast("postgres.Cursor", Spy(cursor, blind_to=blind_to)), records))


class Spy:
    """A cursor that counts statements, and returns no rows for those that contain `blind_to`."""

    def __init__(self, cursor: postgres.Cursor, *, blind_to: str | None = None) -> None:
        self._cursor = cursor
        self._blind_to = blind_to
        self._blind = False
        self.executed = 0

    def execute(self, statement: Any, parameters: Any = None) -> None:
        self.executed += 1
        self._blind = self._blind_to is not None and self._blind_to in statement
        self._cursor.execute(statement, parameters)

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        return iter(()) if self._blind else iter(self._cursor)


def handle_concurrently(
    url: str, listener: Listener, shares: Sequence[Sequence[Received]], *, batch: int
) -> tuple[list[Any], int]:
    """
    Handle each share at a worker of its own, all at once; the events, and the number of retries.
    """
    begin = threading.Barrier(len(shares))

    def work(share: Sequence[Received]) -> tuple[list[Any], int]:
        worker = Worker(url, listener)
        begin.wait(20)
        events = [
            event
            for start in range(0, len(share), batch)
            for event in worker.handle(*share[start : start + batch])
        ]
        worker.session.close()
        return events, worker.retries

    with ThreadPoolExecutor(len(shares)) as pool:
        results = list(pool.map(work, shares))

    events = [event for events, _ in results for event in events]
    return events, sum(retries for _, retries in results)
