"""
The relay: what commits in the outbox goes to Kafka, in commit order, once.

It reads the write-ahead log, puts whole database transactions into one Kafka transaction together with its own
position, and starts the next as soon as the last is committed, so load grows batches instead of markers. Killed at any
line, it goes on from the position that Kafka committed. Records that belong to a transaction whose outcome is unknown
are never sent again from memory: a new session reads what was committed and streams from there.
"""

from __future__ import annotations

import threading
import time

from orderflow.messaging.errors import Fenced, Refused, Stopped, Transient, Unavailable
from orderflow.messaging.kafka.transactions import ProducerLost, TransactionAborted
from orderflow.messaging.postgres import Connection, DatabaseError, connect, transient
from orderflow.messaging.relay import health
from orderflow.messaging.relay.health import Health, RelayState
from orderflow.messaging.relay.outbox_partitions import PartitionKeeper
from orderflow.messaging.relay.pgoutput import Parser, Transaction
from orderflow.messaging.relay.position import lsn_text
from orderflow.messaging.relay.records import ProducerRecord, record_reader
from orderflow.messaging.relay.session import RelaySession, RelaySettings
from orderflow.messaging.telemetry import logger

BACK_OFF_S = (0.1, 5.0)
KEEP_PARTITIONS_EVERY_S = 60.0
READ_WAIT_S = 0.5

log = logger("relay")


class Relay:
    """One outbox's relay. `run` in a thread or process of its own; `health` from anywhere."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._keeper = PartitionKeeper()
        self._back_off_s = BACK_OFF_S[0]
        self.health = Health()

    def run(self, stop: threading.Event) -> None:
        """
        Publish until `stop` is set, then return within some seconds, whatever is away.

        Raises ResyncNeeded when position, slot and database do not fit (nothing was changed), Fenced when another relay
        took this one's place. Everything that time heals is waited for, without bound.
        """
        self._stop = stop
        keeper = threading.Thread(
            target=self._keep_partitions, name="outbox-partitions", daemon=True
        )
        keeper.start()
        fenced_pid: int | None = None
        try:
            while not stop.is_set():
                fenced_pid = self._one_session(fenced_pid)
            self._report(RelayState.STOPPED)
        except Refused as error:
            self._report(RelayState.REFUSED, str(error))
            raise
        except Fenced as error:
            self._report(RelayState.FENCED, str(error))
            raise
        finally:
            health.STREAMING.set(0)

    def _one_session(self, fenced_pid: int | None) -> int | None:
        """Run one session to its end; its backend's pid if it was fenced."""
        session: RelaySession | None = None
        try:
            session = RelaySession(
                self._settings, stopping=self._stop.is_set, fenced_pid=fenced_pid
            )
            session.open(on_standby=self._stand_by, before_first=self._keep_partitions_once)
            self._stream(session)
        except Stopped:
            pass
        except Transient as error:
            health.RESTARTS.inc()
            self._report(RelayState.WAITING, str(error))
            log.warning("the relay starts over from its committed position", reason=str(error))
            if isinstance(error, ProducerLost) and error.fenced and session is not None:
                return session.stream.backend_pid
            self._stop.wait(self._back_off_s)
            self._back_off_s = min(self._back_off_s * 2, BACK_OFF_S[1])
        finally:
            if session is not None:
                session.close()
        return None

    def _stream(self, session: RelaySession) -> None:
        """The loop: read what is there, publish it, confirm; alone at night, move the position once a minute."""
        self._back_off_s = BACK_OFF_S[0]
        self._report(RelayState.STREAMING, position=session.position)
        health.STREAMING.set(1)
        log.info("the relay streams", slot=self._settings.slot, position=lsn_text(session.position))
        reader = _BatchReader(session, self._settings)
        committed_at = time.monotonic()
        while not self._stop.is_set():
            rows, end_lsn = reader.next_batch()
            now = time.monotonic()
            if rows or now - committed_at >= self._settings.idle_commit_every_s:
                self._publish(session, rows, end_lsn)
                committed_at = now
                self._report(
                    RelayState.STREAMING, position=session.position, wal_end=session.stream.wal_end
                )
            session.keep_alive()

    def _publish(self, session: RelaySession, rows: list[ProducerRecord], end_lsn: int) -> None:
        """Until it is committed; an aborted transaction is sent again by the same producer, after a rest."""
        session.increment_tick()
        while True:
            try:
                session.publish(rows, end_lsn)
            except TransactionAborted as error:
                health.ABORTS.inc()
                self._report(RelayState.WAITING, str(error), position=session.position)
                log.warning(
                    "the Kafka transaction was undone and is sent again",
                    reason=str(error),
                    rows=len(rows),
                )
                session.pause(self._back_off_s)
                self._back_off_s = min(self._back_off_s * 2, BACK_OFF_S[1])
            else:
                self._back_off_s = BACK_OFF_S[0]
                health.RECORDS.inc(len(rows))
                health.TRANSACTIONS.inc()
                return

    def _stand_by(self) -> None:
        if self.health.state is not RelayState.STANDBY:
            self._report(RelayState.STANDBY, "another relay reads the slot")
            log.info("the relay stands by", slot=self._settings.slot)

    def _report(
        self, state: RelayState, reason: str = "", *, position: int | None = None, wal_end: int = 0
    ) -> None:
        known = self.health
        position = known.position if position is None else position
        self.health = Health(
            state=state,
            reason=reason,
            position=position,
            wal_end=max(wal_end, position, known.wal_end),
        )
        health.STREAMING.set(state is RelayState.STREAMING)
        health.POSITION.set(position)
        health.WAL_END.set(self.health.wal_end)

    def _keep_partitions(self) -> None:
        """A thread of its own, so that a lock never holds records back."""
        while not self._stop.wait(KEEP_PARTITIONS_EVERY_S):
            if self.health.state is not RelayState.STREAMING:
                continue
            try:
                with connect(
                    self._settings.database, application_name="outbox-partitions", autocommit=True
                ) as own:
                    self._keep_partitions_once(own)
            except Unavailable as error:
                log.warning("outbox partitions were not looked after", reason=str(error))

    def _keep_partitions_once(self, connection: Connection) -> None:
        try:
            self._keeper.keep(connection, position=self.health.position)
        except DatabaseError as error:
            log.warning(
                "outbox partitions were not looked after", reason=str(transient(error) or error)
            )


class _BatchReader:
    """Whole database transactions, as many as are there, up to a limit; what is already published is skipped."""

    def __init__(self, session: RelaySession, settings: RelaySettings) -> None:
        self._session = session
        self._rows_max, self._bytes_max = settings.rows_max, settings.bytes_max
        self._parser = Parser(record_reader)
        self._end_lsn = session.position

    def next_batch(self) -> tuple[list[ProducerRecord], int]:
        """
        The rows of the next transactions, and the position behind them; no rows after 0.5 s of quiet.

        In quiet, the position is what the server says it has read through: nothing between can hold a row.
        """
        stream, feed = self._session.stream, self._parser.feed
        rows: list[ProducerRecord] = []
        size = 0
        waited = False
        while len(rows) < self._rows_max and size < self._bytes_max:
            message = stream.next_message()
            if message is not None:
                done = feed(message)
                if done is not None:
                    size += self._take(rows, done)
            elif not stream.wait(0):
                if rows or waited:
                    break
                stream.wait(READ_WAIT_S)
                waited = True
        if not rows and not self._parser.inside:
            self._end_lsn = max(self._end_lsn, stream.wal_end)
        return rows, self._end_lsn

    def _take(self, rows: list[ProducerRecord], done: Transaction[ProducerRecord]) -> int:
        if done.end_lsn <= self._session.position:
            return 0
        self._end_lsn = done.end_lsn
        rows += done.rows
        return sum(len(row.value) for row in done.rows)
