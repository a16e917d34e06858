"""
The replication connection: PostgreSQL's walsender protocol over a driver connection.

The driver has no replication API, so this room uses its low-level connection: simple queries, then
a two-way copy stream that is read without blocking. The walsender ends the connection of a reader
that is silent for `wal_sender_timeout` (10 s here), so `confirm` must be called every 2 s, whatever
else goes on. Each confirmation asks for an answer, so a server that lives is never silent for long,
and one that is silent for 15 s is away. Source: PostgreSQL documentation, "Streaming Replication
Protocol".
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

import psycopg
from psycopg import pq

from orderflow.messaging.errors import ResyncNeeded, Unavailable
from orderflow.messaging.postgres import RESOURCE, conninfo
from orderflow.messaging.relay.pgoutput import POSTGRES_EPOCH
from orderflow.messaging.relay.position import lsn_number

WAL_SENDER_TIMEOUT_S = 10
SILENT_AFTER_S = 15.0
"""Some confirmations after the last byte; the server itself gives a reader up after 10 s."""
CANCEL_WITHIN_S = 2.0
MAKE_SLOT_WITHIN_S = 60.0
"""A new slot waits for the transactions that run. After this the session begins anew."""

_SLOT_IS_ACTIVE = "55006"
_SLOT_IS_GONE = {"42704", "55000"}
_DUPLICATE = "42710"
_WAL, _KEEPALIVE = b"wk"
_WAL_HEADER_BYTES = 25
_WAL_END = Struct(">Q")
_STATUS = Struct(">cQQQqB")
_REPLY = 1


class Server(NamedTuple):
    """The result of IDENTIFY_SYSTEM: the cluster, its timeline, the end of its log on disk."""

    system_identifier: str
    timeline: int
    wal_end: int


class NewSlot(NamedTuple):
    """Where a new slot begins, and whether the outbox held rows before, which it never sends."""

    start: int
    misses_rows: bool


class ExportedSlot(NamedTuple):
    """Where a new slot begins, and the name of the snapshot that sees all rows before that."""

    start: int
    snapshot: str


class ReplicationConnection:
    """
    One walsender session, for one thread.

    Every method raises Unavailable when the connection is lost, or the server is silent for 15 s;
    then close it and make another.
    `stopping` is called at least every 0.2 s while a command waits (making a slot waits for running
    transactions); when it returns True, the command raises Unavailable.
    """

    def __init__(self, dsn: str, *, application_name: str, stopping: Callable[[], bool]) -> None:
        session = {"wal_sender_timeout": f"{WAL_SENDER_TIMEOUT_S}s", "TimeZone": "UTC"}
        target = conninfo(
            dsn, application_name=application_name, session=session, replication="database"
        )
        try:
            self._connection = psycopg.connect(target, autocommit=True)
        except psycopg.Error as error:
            raise _away(error) from error

        self._pg = self._connection.pgconn
        self._pg.nonblocking = 1
        self._stopping = stopping
        self._silent_since: float | None = None
        self.backend_pid = self._pg.backend_pid
        self.wal_end = 0
        self.reply_requested = False
        self.streaming = False

    def identify(self) -> Server:
        """The server's identity."""
        system_identifier, timeline, wal_end, _name = self._row(self._command("IDENTIFY_SYSTEM"))
        return Server(system_identifier, int(timeline), lsn_number(wal_end))

    def make_slot(self, slot: str, *, table: str) -> NewSlot | None:
        """
        Make the slot; None if another process just made it.

        The slot sends every row that its snapshot does not see, and none that it sees. So the rows
        of `table` that are visible in that snapshot are never sent: `misses_rows`.
        """
        self._command("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ")
        made = self._command(
            f"CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT 'use')",
            may_fail={_DUPLICATE},
            within_s=MAKE_SLOT_WITHIN_S,
        )
        if made.status == pq.ExecStatus.FATAL_ERROR:
            self._command("ROLLBACK")
            return None

        # In the slot's own snapshot: in a later one, rows that the slot does send would count too.
        before = self._row(self._command(f"SELECT EXISTS (SELECT FROM {table})"))  # noqa: S608
        self._command("COMMIT")
        return NewSlot(lsn_number(self._row(made)[1]), misses_rows=before[0] == "t")

    def export_slot(self, slot: str) -> ExportedSlot | None:
        """
        Make the slot; None if another process just made it.

        The slot sends every row that the named snapshot does not see, and none that it sees. Other
        sessions can use the snapshot until this connection runs its next command.
        """
        made = self._command(
            f"CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT 'export')",
            may_fail={_DUPLICATE},
            within_s=MAKE_SLOT_WITHIN_S,
        )
        if made.status == pq.ExecStatus.FATAL_ERROR:
            return None

        _name, start, snapshot, _plugin = self._row(made)
        return ExportedSlot(lsn_number(start), snapshot)

    def start(self, slot: str, publication: str) -> bool:
        """
        Begin to stream from the slot's confirmed position; False if another process reads it.

        PostgreSQL allows one reader per slot: after True this connection is the only one until it
        ends. Raises ResyncNeeded when the server can't serve the slot any more.
        """
        options = f"proto_version '1', publication_names '{publication}', binary 'true'"
        begun = self._command(
            f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})",
            may_fail={_SLOT_IS_ACTIVE, *_SLOT_IS_GONE},
        )

        if begun.status == pq.ExecStatus.COPY_BOTH:
            self.streaming = True
            return True
        if _sqlstate(begun) == _SLOT_IS_ACTIVE:
            return False
        raise ResyncNeeded(f"slot {slot} can't be read: {_message(begun)}")

    def wait(self, timeout_s: float) -> bool:
        """Read what has arrived, waiting up to `timeout_s` for it; False if nothing arrived."""
        if not select.select([self._pg.socket], [], [], timeout_s)[0]:
            return False
        try:
            self._pg.consume_input()
        except psycopg.Error as error:
            raise _away(error) from error
        return True

    def next_message(self) -> bytes | None:
        """
        The next pgoutput message; None when nothing more has arrived.

        Keepalives are consumed on the way. They set `wal_end` (everything that ended before it has
        been sent) and `reply_requested`.
        """
        take = self._pg.get_copy_data
        while True:
            try:
                size, data = take(1)
            except psycopg.Error as error:
                raise _away(error) from error
            if size == 0:
                self._refuse_silence()
                return None
            self._silent_since = None
            if size < 0:
                raise Unavailable(
                    f"the server ended the stream: {self._last_error()}", resource=RESOURCE
                )

            if data[0] == _WAL:
                return bytes(data[_WAL_HEADER_BYTES:])
            if data[0] == _KEEPALIVE:
                self.wal_end = _WAL_END.unpack_from(data, 1)[0]
                self.reply_requested |= bool(data[17])

    def confirm(self, lsn: int) -> None:
        """
        Tell the server that it may discard the log up to `lsn`, and that this reader lives.

        Does nothing before `start`.
        """
        if not self.streaming:
            return

        now_us = int((time.time() - POSTGRES_EPOCH.timestamp()) * 1_000_000)
        try:
            self._pg.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, now_us, _REPLY))
            self._flush()
        except psycopg.Error as error:
            raise _away(error) from error
        self.reply_requested = False

    def close(self) -> None:
        """End the session; the slot is free once the server has noticed, within seconds."""
        # Cancelled first: the server notices a closed connection only when its command has ended.
        # Within a limit, because the request goes over a connection of its own to the same server.
        with suppress(psycopg.Error):
            if self._pg.transaction_status == pq.TransactionStatus.ACTIVE:
                self._connection.cancel_safe(timeout=CANCEL_WITHIN_S)
        with suppress(psycopg.Error):
            self._connection.close()

    def _refuse_silence(self) -> None:
        """
        Raise Unavailable when nothing has arrived for too long.

        Counted from a read that found nothing: a reader that pauses finds the answers it did not
        read.
        """
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > SILENT_AFTER_S:
            raise _silent()

    def _flush(self) -> None:
        give_up_at = time.monotonic() + SILENT_AFTER_S
        while self._pg.flush():
            if time.monotonic() > give_up_at:
                raise _silent()
            select.select([], [self._pg.socket], [], 0.2)

    def _command(
        self,
        command: str,
        *,
        may_fail: set[str] | frozenset[str] = frozenset(),
        within_s: float = SILENT_AFTER_S,
    ) -> pq.abc.PGresult:
        """Run a simple query. Raises Unavailable if it fails with an SQLSTATE not in `may_fail`."""
        give_up_at = time.monotonic() + within_s
        try:
            self._pg.send_query(command.encode())
            result = self._result(give_up_at)
            # A command may send several results: the last one counts, but COPY_BOTH has no end.
            while (
                result.status != pq.ExecStatus.COPY_BOTH
                and (following := self._result_or_none(give_up_at)) is not None
            ):
                result = following
        except psycopg.Error as error:
            raise _away(error) from error

        if result.status == pq.ExecStatus.FATAL_ERROR and _sqlstate(result) not in may_fail:
            raise Unavailable(
                f"{command.partition('(')[0].strip()}: {_message(result)}", resource=RESOURCE
            )
        return result

    def _result(self, give_up_at: float) -> pq.abc.PGresult:
        result = self._result_or_none(give_up_at)
        if result is None:
            raise Unavailable("the server gave no answer", resource=RESOURCE)
        return result

    def _result_or_none(self, give_up_at: float) -> pq.abc.PGresult | None:
        while self._pg.flush() or self._pg.is_busy():
            if time.monotonic() > give_up_at:
                raise _silent()
            select.select([self._pg.socket], [], [], 0.2)
            self._pg.consume_input()
            if self._stopping():
                raise Unavailable("stopped while a command was running", resource=RESOURCE)
        return self._pg.get_result()

    def _row(self, result: pq.abc.PGresult) -> list[str]:
        return [(result.get_value(0, column) or b"").decode() for column in range(result.nfields)]

    def _last_error(self) -> str:
        result = self._pg.get_result()
        return (
            _message(result) if result is not None and result.error_message else "no reason given"
        )


def _sqlstate(result: pq.abc.PGresult) -> str:
    return (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()


def _message(result: pq.abc.PGresult) -> str:
    return result.error_message.decode(errors="replace").strip().partition("\n")[0]


def _silent() -> Unavailable:
    return Unavailable("the server is silent on the replication connection", resource=RESOURCE)


def _away(error: psycopg.Error) -> Unavailable:
    reason = str(error).strip().partition("\n")[0]
    return Unavailable(f"the replication connection failed: {reason}", resource=RESOURCE)
