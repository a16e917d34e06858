"""What to publish next: whole database transactions from the replication stream."""

from __future__ import annotations

from typing import Protocol

from orderflow.messaging.relay.pgoutput import Parser, Transaction
from orderflow.messaging.relay.records import Highest, ProducerRecord, record_reader

READ_WAIT_S = 0.5


class Stream(Protocol):
    """The part of a replication connection that delivers messages; see `ReplicationConnection`."""

    wal_end: int

    def next_message(self) -> bytes | None: ...

    def wait(self, timeout_s: float) -> bool: ...


class BatchReader:
    """
    Reads batches of whole database transactions, as many as have arrived, up to a limit.

    `published` is the position at which the session starts: transactions that end at or before it
    are on Kafka already, so the reader drops them. `sequence` is the highest of all transactions
    that it has returned or dropped. `ends`: of each transaction of the last batch, how many rows
    the batch has up to its end, and where in the log that is.
    """

    def __init__(self, stream: Stream, *, published: int, rows_max: int, bytes_max: int) -> None:
        self._stream = stream
        self._rows_max, self._bytes_max = rows_max, bytes_max
        self._highest = Highest()
        self._parser = Parser(lambda relation: record_reader(relation, self._highest))
        self._published = self._end_lsn = published
        self.sequence = 0
        self.ends: list[tuple[int, int]] = []

    def next_batch(self) -> tuple[list[ProducerRecord], int]:
        """
        The rows of the next transactions, and the position behind them.

        No rows after 0.5 s without any. Then the position is the end of the log that the server has
        searched: no row lies between. Raises Unavailable when the connection is lost.
        """
        stream, feed = self._stream, self._parser.feed
        rows: list[ProducerRecord] = []
        self.ends = []
        size = 0
        waited = False

        while len(rows) < self._rows_max and size < self._bytes_max:
            message = stream.next_message()
            if message is not None:
                transaction = feed(message)
                if transaction is not None:
                    size += self._take(rows, transaction)
            elif not stream.wait(0):
                # Nothing lingers for a larger batch: rows that have arrived are published at once.
                if rows or waited:
                    break
                stream.wait(READ_WAIT_S)
                waited = True

        # A keepalive inside a transaction may name a log end beyond rows that are not parsed yet.
        if not rows and not self._parser.inside:
            self._end_lsn = max(self._end_lsn, stream.wal_end)
        return rows, self._end_lsn

    def _take(self, rows: list[ProducerRecord], transaction: Transaction[ProducerRecord]) -> int:
        """Add the transaction's rows unless they are published; the size of their values."""
        # Here, where a transaction has ended: rows of the next are not even committed for sure.
        self.sequence = self._highest.sequence

        # The slot may lag behind the position: it repeats what the previous session published.
        if transaction.end_lsn <= self._published:
            return 0

        self._end_lsn = transaction.end_lsn
        rows += transaction.rows
        self.ends.append((len(rows), transaction.end_lsn))
        return sum(len(row.value) for row in transaction.rows)
