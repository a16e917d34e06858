"""
Group commit: one database transaction for all work that waits.

One thread owns one connection. It takes whatever is queued, at most `batch_max` pieces, writes them
with a constant number of statements and commits; meanwhile the next batch forms. It never waits for
a larger batch: a single piece is committed at once, and more load makes larger batches.

Guarantee: a result is delivered only after the COMMIT that made it true. A piece that fails for a
reason of its own is found by halving and fails alone. A piece whose deadline is over before its
transaction begins is not written: its caller has given up, and may have asked anew. When the
database is unavailable, or the outcome of a commit is unknown, every piece of the batch gets that
error: its effect may be there or not, and only its caller can ask again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from orderflow.messaging.errors import OrderflowError, Transient, Unavailable
from orderflow.messaging.postgres.connection import Connection, Cursor, DatabaseError, transient
from orderflow.messaging.telemetry import counter, gauge, histogram, logger

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
EXPIRED = counter(
    "group_commit_expired", "Pieces of work that waited until their deadline and were not written"
)
QUEUED = gauge("group_commit_queued", "Pieces of work that wait for the committer")

log = logger("group_commit")


class QueueFull(OrderflowError):
    """More work waits than is allowed: ask again in a moment."""


class Expired(OrderflowError):
    """The work waited until its deadline; nothing of it was written."""


class _Piece(NamedTuple, Generic[Work]):
    work: Work
    token: object
    deadline: float


class GroupCommit(Generic[Work, Result]):
    """
    Runs `write(cursor, batch)` in a transaction; it returns one result for each piece of work.

    After each commit it calls `deliver` with (token, result or error) pairs, on its own thread.
    `after_commit` runs between the two, for failpoints. Any thread may call `submit`. `clock` is
    that of the deadlines, in seconds.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._write = write
        self._deliver = deliver
        self._after_commit = after_commit
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._clock = clock
        self._queue: SimpleQueue[_Piece[Work]] = SimpleQueue()
        self._connection: Connection | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Start the committer's thread."""
        self._thread.start()

    def submit(self, work: Work, token: object, *, deadline: float = math.inf) -> None:
        """
        Queue `work`; `deliver` gets its outcome with `token`.

        Once `clock` has reached `deadline`, no transaction begins for it: its outcome is Expired.
        Raises QueueFull when `queue_max` pieces wait already, and after `close`.
        """
        if self._queue.qsize() >= self._queue_max or self._closing.is_set():
            raise QueueFull(f"{self._queue_max} pieces of work wait already")
        self._queue.put(_Piece(work, token, deadline))

    def close(self, timeout_s: float = 8.0) -> None:
        """Commit what waits, then end. What is left after `timeout_s` is not begun."""
        self._closing.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self._deliver(self._commit(batch))
            elif self._closing.is_set():
                break
        self._disconnect()

    def _take(self) -> list[_Piece[Work]]:
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

    def _commit(self, batch: list[_Piece[Work]]) -> list[tuple[object, Result | Exception]]:
        """The outcome of each piece of the batch, by its token."""
        outcomes: list[tuple[object, Result | Exception]] = []
        give_up_at = self._clock() + UNDONE_RETRY_S
        while True:
            # Before each transaction: to connect, or to try again, may have taken seconds.
            batch, expired = self._in_time(batch)
            outcomes += expired
            if not batch:
                return outcomes

            if self._connection is None:
                try:
                    self._connection = self._connect()
                except (OrderflowError, DatabaseError) as error:
                    # Whatever it is, it is not a piece's own fault: no halving.
                    log.warning("batch not committed", pieces=len(batch), error=str(error))
                    return outcomes + [(piece.token, error) for piece in batch]
                give_up_at = self._clock() + UNDONE_RETRY_S
                continue

            try:
                results = self._try_once(self._connection, [piece.work for piece in batch])
            except Transient as error:
                # After Unavailable the commit may have happened: repeating it could do the work
                # twice.
                if not isinstance(error, Unavailable) and self._clock() < give_up_at:
                    continue
                log.warning("batch not committed", pieces=len(batch), error=str(error))
                return outcomes + [(piece.token, error) for piece in batch]
            except Exception as error:
                if len(batch) == 1:
                    log.exception("work refused by the database")
                    return [*outcomes, (batch[0].token, error)]

                # Nothing of the batch is in the database, so its halves can be written anew.
                middle = len(batch) // 2
                return outcomes + self._commit(batch[:middle]) + self._commit(batch[middle:])
            tokens = (piece.token for piece in batch)
            return outcomes + list(zip(tokens, results, strict=True))

    def _in_time(
        self, batch: Sequence[_Piece[Work]]
    ) -> tuple[list[_Piece[Work]], list[tuple[object, Result | Exception]]]:
        """The pieces whose deadline is ahead, and the outcomes of the others."""
        now = self._clock()
        live = [piece for piece in batch if piece.deadline > now]
        expired = len(batch) - len(live)
        if not expired:
            return live, []

        EXPIRED.inc(expired)
        log.warning("work expired before it was begun", pieces=expired)
        return live, [
            (piece.token, Expired("it waited until its deadline"))
            for piece in batch
            if piece.deadline <= now
        ]

    def _try_once(self, connection: Connection, batch: list[Work]) -> list[Result]:
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
