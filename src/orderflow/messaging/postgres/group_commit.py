"""
Group commit: one database transaction for all work that waits.

One thread owns one connection. It takes whatever is queued, at most `batch_max` pieces, and writes
and commits them, in one round trip if one statement does; meanwhile the next batch forms. A single
piece is committed at once, and more load makes larger batches; between small ones the committer
rests for a moment, if others come meanwhile: see `Pace`.

Guarantee: a result is delivered only after the COMMIT that made it true. A piece that fails for a
reason of its own is found by halving and fails alone. A piece whose deadline is over before its
transaction begins, or for which nobody waits any more, is not written: its caller has given up, and
may have asked anew. A piece that meets a lock is found by halving too: it alone gets that error.
When the database is unavailable, or the outcome of a commit is unknown, every piece of the batch
gets that error: its effect may be there or not, and only its caller can ask again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Contention, OrderflowError, Transient, Unavailable
from orderflow.messaging.postgres.batch_size import BRIEFLY_FOR_S
from orderflow.messaging.postgres.connection import (
    Connection,
    Cursor,
    DatabaseError,
    transient,
    wait_briefly,
)
from orderflow.messaging.telemetry import BATCH_BUCKETS, counter, gauge, histogram, logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.turning import Turning

Work = TypeVar("Work")
Result = TypeVar("Result")

BATCH_MAX = 500
UNDONE_RETRY_S = 2.0
"""How long undone work is repeated: a deadlock is over at once, a lock that others hold is not."""

IDLE_S = 0.5

BATCH_REQUESTS = histogram(
    "group_commit_batch_requests",
    "Requests that the committer takes at once.",
    buckets=BATCH_BUCKETS,
)
COMMIT_S = histogram(
    "group_commit_seconds", "How long the committer takes for what it took, retries included."
)
EXPIRED = counter(
    "group_commit_expired_requests", "Requests not written: too late, or for nobody any more."
)
QUEUED = gauge("group_commit_queue_requests", "Requests that wait for the committer.")

log = logger("group_commit")


class QueueFull(OrderflowError):
    """More work waits than is allowed: ask again in a moment."""


class Expired(OrderflowError):
    """The work waited until its deadline; nothing of it was written."""


class _Piece(NamedTuple, Generic[Work]):
    work: Work
    token: object
    deadline: float


class Pace:
    """
    How long to rest after a batch, so that fewer and larger ones do the work.

    A commit has a cost of its own, whatever it writes: a batch of `ENOUGH` shares it well, a batch
    of two halves it. So after a smaller one the committer rests for some times as long as it took,
    which grows with the load of machine and database: at most `FACTOR` times, and `REST_S_MAX`.
    A rest in which nobody else came makes the next ones shorter, down to none: a lone client that
    orders again and again does not wait for company.
    """

    ENOUGH = 16
    FACTOR = 1.0
    REST_S_MAX = 0.010
    FACTOR_MIN = 0.1
    SHRINKS = 0.8

    def __init__(self) -> None:
        self._factor = 0.0

    def rest_s(self, *, pieces: int, took_s: float) -> float:
        """The rest after a batch of so many pieces that was committed in that time."""
        if pieces > 1:
            self._factor = min(self.FACTOR, max(self.FACTOR / 2, 2 * self._factor))
        elif (shorter := self._factor * self.SHRINKS) >= self.FACTOR_MIN:
            self._factor = shorter
        else:
            self._factor = 0.0

        if pieces >= self.ENOUGH:
            return 0.0
        return min(self.REST_S_MAX, self._factor * took_s)


class GroupCommit(Generic[Work, Result]):
    """
    Runs `write(cursor, batch)`, which returns one result for each piece of work.

    `write` makes one transaction: of a single statement, which commits by itself, or of a block
    `cursor.connection.transaction()`. Should it raise, nothing of the batch may have been written.

    `connect` opens a connection that commits each statement (autocommit).

    After each commit it calls `deliver` with (token, result or error) pairs, on its own thread.
    `after_commit` runs between the two, for failpoints. Any thread may call `submit`. Deadlines
    are in seconds of `clock.monotonic()`. `is_wanted` says of a token whether anybody still waits
    for its outcome; it is called on the committer's thread.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Connection],
        write: Callable[[Cursor, list[Work]], list[Result]],
        deliver: Callable[[list[tuple[object, Result | Exception]]], None],
        after_commit: Callable[[], None] = lambda: None,
        is_wanted: Callable[[object], bool] = lambda _token: True,
        batch_max: int = BATCH_MAX,
        queue_max: int = 10_000,
        clock: Clock = CLOCK,
    ) -> None:
        self._connect = connect
        self._write = write
        self._deliver = deliver
        self._after_commit = after_commit
        self._is_wanted = is_wanted
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._clock = clock

        self._queue: SimpleQueue[_Piece[Work]] = SimpleQueue()
        self._connection: Connection | None = None
        self._briefly_until = -math.inf
        self._pace = Pace()
        self._closing = threading.Event()
        self._turning = Turning("group commit", clock=clock)
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Start the committer's thread."""
        # Asked when somebody looks: while the committer hangs, the queue grows all the same.
        QUEUED.set_function(self._queue.qsize)
        EXPIRED.inc(0)
        self._thread.start()

    def submit(self, work: Work, token: object, *, deadline: float = math.inf) -> None:
        """
        Queue `work`; `deliver` gets its outcome with `token`.

        Once the clock has reached `deadline`, no transaction begins for it: its outcome is Expired.
        Raises QueueFull when `queue_max` pieces wait already, and after `close`.
        """
        if self._queue.qsize() >= self._queue_max or self._closing.is_set():
            raise QueueFull(f"{self._queue_max} pieces of work wait already")
        self._queue.put(_Piece(work, token, deadline))

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
                began = self._clock.monotonic()
                outcomes = self._commit(batch)
                took_s = self._clock.monotonic() - began
                COMMIT_S.observe(took_s)
                self._deliver(outcomes)

                # Meanwhile the next batch forms. Whoever closes wants what waits to be written.
                self._closing.wait(self._pace.rest_s(pieces=len(batch), took_s=took_s))
            elif self._closing.is_set():
                break

        self._turning.rest()
        self._disconnect()

    def _take(self) -> list[_Piece[Work]]:
        try:
            batch = [self._queue.get(timeout=IDLE_S)]
        except Empty:
            return []

        with suppress(Empty):
            while len(batch) < self._batch_max:
                batch.append(self._queue.get_nowait())

        BATCH_REQUESTS.observe(len(batch))
        return batch

    def _commit(self, batch: list[_Piece[Work]]) -> list[tuple[object, Result | Exception]]:
        """The outcome of each piece of the batch, by its token."""
        outcomes: list[tuple[object, Result | Exception]] = []
        give_up_at = self._clock.monotonic() + UNDONE_RETRY_S
        while True:
            self._turning.mark("commit")
            # Before each transaction: to connect, or to try again, may have taken seconds.
            batch, expired = self._in_time(batch)
            outcomes += expired
            if not batch:
                return outcomes

            if self._connection is None:
                try:
                    self._connection = self._connect()
                except Exception as error:  # noqa: BLE001 - each piece is told, whatever it is
                    # It is no piece's own fault: no halving.
                    log.warning("batch not committed", pieces=len(batch), error=error_text(error))
                    return outcomes + [(piece.token, error) for piece in batch]
                give_up_at = self._clock.monotonic() + UNDONE_RETRY_S
                continue

            try:
                results = self._try_once(self._connection, [piece.work for piece in batch])
            except Exception as error:  # noqa: BLE001 - each piece gets it as its outcome
                if isinstance(error, Transient) and not isinstance(error, Contention):
                    # After Unavailable the commit may have happened: repeating it could do the work
                    # twice.
                    if not isinstance(error, Unavailable) and self._clock.monotonic() < give_up_at:
                        continue
                    log.warning("batch not committed", pieces=len(batch), error=error_text(error))
                    return outcomes + [(piece.token, error) for piece in batch]

                self._note(error, pieces=len(batch))
                if len(batch) == 1:
                    return [*outcomes, (batch[0].token, error)]
                # Nothing of the batch is in the database, so its halves can be written anew.
                middle = len(batch) // 2
                return outcomes + self._commit(batch[:middle]) + self._commit(batch[middle:])
            tokens = (piece.token for piece in batch)
            return outcomes + list(zip(tokens, results, strict=True))

    def _note(self, error: Exception, *, pieces: int) -> None:
        """Note what only one of these pieces, or some of them, may be the reason for."""
        if isinstance(error, Contention):
            # To wait as long once more would keep everybody waiting.
            self._briefly_until = self._clock.monotonic() + BRIEFLY_FOR_S
            log.warning("work meets a lock", pieces=pieces, error=error_text(error))
        elif pieces == 1:
            log.error("work refused by the database", exc_info=error)

    def _in_time(
        self, batch: Sequence[_Piece[Work]]
    ) -> tuple[list[_Piece[Work]], list[tuple[object, Result | Exception]]]:
        """The pieces that are still wanted and in time, and the outcomes of the others."""
        now = self._clock.monotonic()
        live, expired = list[_Piece[Work]](), list[_Piece[Work]]()
        for piece in batch:
            is_live = piece.deadline > now and self._is_wanted(piece.token)
            (live if is_live else expired).append(piece)
        if not expired:
            return live, []

        EXPIRED.inc(len(expired))
        log.warning("work expired before it was begun", pieces=len(expired))
        error = Expired("it waited until its deadline, or until nobody waited for it")
        return live, [(piece.token, error) for piece in expired]

    def _try_once(self, connection: Connection, batch: list[Work]) -> list[Result]:
        try:
            with connection.cursor() as cursor:
                if self._clock.monotonic() < self._briefly_until:
                    with connection.transaction():
                        wait_briefly(cursor)
                        results = self._write(cursor, batch)
                else:
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
