"""
Group commit: one database transaction for all work that waits.

One thread owns one connection. It takes whatever is queued, at most `batch_max` pieces, writes them
with a constant number of statements and commits; meanwhile the next batch forms. It never waits for
a larger batch: a single piece is committed at once, and more load makes larger batches.

Guarantee: a result is delivered only after the COMMIT that made it true. A piece that fails for a
reason of its own is found by halving and fails alone. When the database is unavailable, or the
outcome of a commit is unknown, every piece of the batch gets that error: its effect may be there or
not, and only its caller can ask again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from orderflow.messaging.errors import OrderflowError, Transient, Unavailable
from orderflow.messaging.postgres.connection import Connection, Cursor, DatabaseError, transient
from orderflow.messaging.telemetry import gauge, histogram, logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.turning import Turning

Work = TypeVar("Work")
Result = TypeVar("Result")

BATCH_MAX = 500
UNDONE_RETRY_S = 2.0
"""How long undone work is repeated: a deadlock is over at once, a lock that others hold is not."""

IDLE_S = 0.5

BATCH_SIZE = histogram(
    "group_commit_batch_size",
    "Pieces of work in one commit",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
QUEUED = gauge("group_commit_queued", "Pieces of work that wait for the committer")

log = logger("group_commit")


class QueueFull(OrderflowError):
    """More work waits than is allowed: ask again in a moment."""


class GroupCommit(Generic[Work, Result]):
    """
    Runs `write(cursor, batch)` in a transaction; it returns one result for each piece of work.

    After each commit it calls `deliver` with (token, result or error) pairs, on its own thread.
    `after_commit` runs between the two, for failpoints. Any thread may call `submit`.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Connection],
        write: Callable[[Cursor, list[Work]], list[Result]],
        deliver: Callable[[list[tuple[object, Result | Exception]]], None],
        after_commit: Callable[[], None] = lambda: None,
        batch_max: int = BATCH_MAX,
        queue_max: int = 10_000,
        clock: Clock = CLOCK,
    ) -> None:
        self._connect = connect
        self._write = write
        self._deliver = deliver
        self._after_commit = after_commit
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: SimpleQueue[tuple[Work, object]] = SimpleQueue()
        self._connection: Connection | None = None
        self._closing = threading.Event()
        self._turning = Turning("group commit", clock=clock)
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Start the committer's thread."""
        self._thread.start()

    def submit(self, work: Work, token: object) -> None:
        """
        Queue `work`; `deliver` gets its outcome with `token`.

        Raises QueueFull when `queue_max` pieces wait already, and after `close`.
        """
        if self._queue.qsize() >= self._queue_max or self._closing.is_set():
            raise QueueFull(f"{self._queue_max} pieces of work wait already")
        self._queue.put((work, token))

    def close(self, timeout_s: float = 8.0) -> None:
        """Commit what waits, then end. What is left after `timeout_s` is not begun."""
        self._closing.set()
        self._thread.join(timeout_s)

    def reasons(self) -> list[str]:
        """Why no work is committed; empty while the committer turns."""
        return self._turning.reasons()

    def _run(self) -> None:
        while True:
            self._turning.mark("wait for work")
            batch = self._take()
            if batch:
                self._deliver(self._commit(batch))
            elif self._closing.is_set():
                break
        self._turning.rest()
        self._disconnect()

    def _take(self) -> list[tuple[Work, object]]:
        try:
            batch = [self._queue.get(timeout=IDLE_S)]
        except Empty:
            return []

        with suppress(Empty):
            while len(batch) < self._batch_max:
                batch.append(self._queue.get_nowait())

        QUEUED.set(self._queue.qsize())
        BATCH_SIZE.observe(len(batch))
        return batch

    def _commit(self, batch: list[tuple[Work, object]]) -> list[tuple[object, Result | Exception]]:
        try:
            results = self._transaction([work for work, _ in batch])
        except Transient as error:
            log.warning("batch not committed", pieces=len(batch), error=str(error))
            return [(token, error) for _, token in batch]
        except Exception as error:
            if len(batch) == 1:
                log.exception("work refused by the database")
                return [(batch[0][1], error)]

            # Nothing of the batch is in the database, so its halves can be written anew.
            middle = len(batch) // 2
            return self._commit(batch[:middle]) + self._commit(batch[middle:])
        return [(token, result) for (_, token), result in zip(batch, results, strict=True)]

    def _transaction(self, batch: list[Work]) -> list[Result]:
        give_up_at = time.monotonic() + UNDONE_RETRY_S
        while True:
            try:
                return self._try_once(batch)
            except Unavailable:
                # The commit may have happened: repeating it could do the work twice.
                raise
            except Transient:
                if time.monotonic() >= give_up_at:
                    raise

    def _try_once(self, batch: list[Work]) -> list[Result]:
        self._turning.mark("commit")
        connection = self._connection or self._connect()
        self._connection = connection

        try:
            with connection.transaction(), connection.cursor() as cursor:
                results = self._write(cursor, batch)
        except DatabaseError as error:
            healing = transient(error)
            if healing is None:
                raise
            if isinstance(healing, Unavailable) or connection.closed:
                self._disconnect()
            raise healing from error

        self._after_commit()
        return results

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DatabaseError):
                connection.close()
