"""A listener's database half, as the container runs it, for handlers tested on a real database and without a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from uuid import UUID, uuid4

from tests.support.order_service import database_settings

from orderflow.contracts.events import Event
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId, Metadata
from orderflow.messaging.listener import InboxOutbox, Listener, Received
from orderflow.messaging.postgres import inbox

TRIES_MAX = 50


class Worker:
    """Inbox, handler, commit; again after what time heals. `again` counts how often that was."""

    def __init__(self, url: str, listener: Listener) -> None:
        assert isinstance(listener.delivery, InboxOutbox)
        self.session = postgres.Session(
            database_settings(url), application_name=f"{listener.name}-test"
        )
        self.listener = listener
        self.handler = listener.delivery.handler
        self.again = 0

    def hear(self, *records: Received) -> list[Any]:
        """What the handler told of those that the inbox did not know."""
        for _ in range(TRIES_MAX):
            try:
                with self.session.transaction() as cursor:
                    fresh = inbox.claim(
                        cursor, self.listener.name, [record.metadata.id for record in records]
                    )
                    batch = [record for record in records if record.metadata.id in fresh]
                    return [event for _, event in self.handler(cursor, batch)] if batch else []
            except Transient:
                self.again += 1
        raise AssertionError(f"undone {TRIES_MAX} times")

    def rows(self, table: str) -> list[tuple[object, ...]]:
        """Every row with where it lies: a row written again, even with the same values, is another."""
        with self.session.transaction() as cursor:
            cursor.execute(f"SELECT ctid::text, xmin::text, * FROM {table} ORDER BY 3".encode())
            return cursor.fetchall()

    def statements(self, batch: Sequence[Received]) -> int:
        """How many the handler makes of a batch."""
        with self.session.transaction() as cursor:
            spy = Spy(cursor)
            list(self.handler(cast("postgres.Cursor", spy), batch))
            return spy.executed

    def hear_blindly(self, *records: Received, blind_to: str) -> None:
        """As if the snapshot of what is read by statements with `blind_to` in them were too old."""
        with self.session.transaction() as cursor:
            list(self.handler(cast("postgres.Cursor", Spy(cursor, blind_to=blind_to)), records))


class Spy:
    """A cursor that counts statements, and reads nothing of what it is `blind_to`."""

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


def record(event: Event, *, topic: str, event_id: UUID | None = None) -> Received:
    """`event` as a record, with an id of its own unless one is given."""
    metadata = Metadata(
        id=EventId(event_id or uuid4()),
        type=event.type_name(),
        source="/test",
        time=event.happened_at,
        subject=event.subject,
        correlation_id=event.subject,
    )
    return Received(
        event=event, metadata=metadata, topic=topic, partition=0, offset=0, key=event.key.encode()
    )


def together(
    url: str, listener: Listener, shares: Sequence[Sequence[Received]], *, batch: int
) -> tuple[list[Any], int]:
    """Each share at a worker of its own, all at once; what was told, and how often work was undone."""
    begin = threading.Barrier(len(shares))

    def work(share: Sequence[Received]) -> tuple[list[Any], int]:
        worker = Worker(url, listener)
        begin.wait(20)
        told = [
            event
            for start in range(0, len(share), batch)
            for event in worker.hear(*share[start : start + batch])
        ]
        worker.session.close()
        return told, worker.again

    run: Callable[[Sequence[Received]], tuple[list[Any], int]] = work
    with ThreadPoolExecutor(len(shares)) as pool:
        done = list(pool.map(run, shares))
    return [event for told, _ in done for event in told], sum(again for _, again in done)
