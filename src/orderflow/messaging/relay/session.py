"""
One relay session: from taking the slot to the first failure.

The order of the start is the guarantee; `open` gives the reason at each step.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

from orderflow.messaging.errors import Refused, ResyncNeeded, Stopped, Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import (
    Refusal,
    RefusedRecord,
    TransactionAborted,
    Transactions,
)
from orderflow.messaging.postgres import (
    Connection,
    DatabaseError,
    connect,
    unavailable_when_transient,
)
from orderflow.messaging.relay import pg_catalog, relay_state
from orderflow.messaging.relay.held_store import HeldStore, Hold, event_id_of
from orderflow.messaging.relay.hold_decision import DISCARD, divide, may_go
from orderflow.messaging.relay.position import (
    Position,
    lsn_text,
    position_offset,
    read_position,
)
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.replication import ReplicationConnection
from orderflow.messaging.relay.session_start import STANDBY_EVERY_S, SessionStart
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.turning import Turning

CONFIRM_EVERY_S = 2.0
NOTE_EVERY_S = 1.0
GIVE_UP_AFTER_STOP_S = 4.0
TOGETHER = (16, 4, 1)
"""Records that are sent at once to a broker that takes each of them, and not a batch of them."""
CONFIRMED_WITHIN_S = 10.0
READ_BACK_WITHIN_S = 1.0
"""A commit's marker reaches the group's coordinator some ms after the acknowledgement."""

log = logger("relay")


class Batch:
    """
    Rows to publish, and where each transaction ends among them and in the log: see `BatchReader`.

    `why`: the broker's words about rows that it refuses, by their places; `go`: the places of those
    that may go, `hold`: of those that are held.
    """

    def __init__(self, rows: list[ProducerRecord], ends: Sequence[tuple[int, int]]) -> None:
        self.rows = rows
        self.why: dict[int, str] = {}
        self.go: Sequence[int] = range(len(rows))
        self.hold: Sequence[int] = ()
        self._ends = ends

    def going(self) -> list[ProducerRecord]:
        """The rows that may go."""
        return [self.rows[place] for place in self.go] if self.hold else self.rows

    def lsn_of(self, place: int) -> int:
        """Where the database transaction of a row ends."""
        return self._ends[bisect_right(self._ends, place, key=lambda end: end[0])][1]


class RelaySession:
    """
    Opened and closed once. After any Transient error: close it, and open another session.

    `fenced_pid` is the backend's process id of the previous session if that session was fenced. If
    then another backend reads the slot, this process was replaced, and `open` raises Fenced.

    `position` is the last that Kafka acknowledged. PostgreSQL is told to discard its log up to the
    last one that was *read* from Kafka, because an acknowledged commit can be undone while the
    broker stops or starts: see `kafka.transactions`.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        stopping: Callable[[], bool],
        fenced_pid: int | None = None,
        turning: Turning,
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._fenced_pid = fenced_pid
        self._turning = turning
        self._stop_seen_at: float | None = None
        self._confirmed_at = 0.0
        self._broken: Unavailable | None = None
        self._in_transaction = False
        self._follows = False
        self._tick = 0
        self._ticked_at = float("-inf")
        self.position = 0
        self._read_position = 0
        self._resent = self._read_resent = 0
        self._read_back_at = 0.0
        self._together: int | None = None
        self._sequence = self._noted_sequence = 0
        self._noted_at = float("-inf")

        self._producer = clients.transactional_producer(settings.kafka, settings.transactional_id)
        self._consumer = clients.consumer(
            settings.kafka,
            settings.group,
            **{"retry.backoff.ms": 5, "retry.backoff.max.ms": 20},
        )
        self._transactions = Transactions(self._producer, between=self.keep_alive)
        self.admin = connect(settings.database, application_name=settings.group, autocommit=True)
        dsn = settings.database.dsn.get_secret_value()
        try:
            self.stream = ReplicationConnection(
                dsn, application_name=settings.slot, stopping=stopping
            )
        except Unavailable:
            self.admin.close()
            self._consumer.close()
            raise
        reader = settings.slot, self.stream.backend_pid
        self._store = HeldStore(self.admin, reader=reader)

    def open(
        self, *, on_standby: Callable[[], None], before_first: Callable[[Connection], None]
    ) -> None:
        """
        Take the slot, fence the predecessor, read the position; then this session may stream.

        While another relay has the slot it waits and calls `on_standby` every 0.1 s. It calls
        `before_first` before it commits a database's first position. Raises ResyncNeeded when
        position, slot and database do not fit together, Fenced when this process was replaced,
        Stopped, or Unavailable.
        """
        start = SessionStart(
            self._settings,
            admin=self.admin,
            stream=self.stream,
            consumer=self._consumer,
            stopping=self._stopping,
            keep_alive=self.keep_alive,
        )
        with unavailable_when_transient(), self._naming_the_way_out():
            # Which database this is: every position is compared with it, and names it.
            self._database = start.identify()

            # The slot before the fence. PostgreSQL gives it to one reader, so only the relay that
            # may stream fences: a standby that fenced first would stop the relay that works.
            slot = start.take_slot(on_standby, fenced_pid=self._fenced_pid)

            # The fence before the position is read. It ends the transaction that a predecessor left
            # open and refuses its next one: from here on only this session moves the position.
            self._transactions.init()
            self._group_metadata = self._consumer.consumer_group_metadata()

            # Before the position is read: it has no answer while a transaction lacks its marker.
            start.expect_positions()
            self._transactions.abort_remains(
                position_offset(Position(lsn=0, database=self._database, resyncing=True)),
                self._group_metadata,
            )
            position = start.fitting_position(slot)

            # Before the first record: a position that does not fit the slot and the database would
            # lose rows or repeat them silently.
            self._tick = start.admit(position, slot)

            if position is None:
                # The partitions first: the API accepts work once the position is committed.
                before_first(self.admin)
                self._store.forget_log()
                self.publish([], slot.confirmed_flush)
            else:
                # What another reader has confirmed to the slot is on Kafka: it goes on from there.
                lsn = max(position.lsn, slot.confirmed_flush) if position.follows else position.lsn
                self.position = self._read_position = lsn
                self._resent = self._read_resent = position.resent

            # By what was read from Kafka: it alone knows whether a killed relay sent held rows.
            self._store.settle(self._read_resent)
            self._store.unmark(self._resent)
            self._store.load(position=self.position, resent=self._resent)

            # Before the first row: from then on the slot moves behind the position again.
            if position is not None and position.follows:
                self.publish([], self.position)

            # Last, after the position is on Kafka: the API is ready when it finds this note, and a
            # row that it writes then can't be missed.
            relay_state.note_first_position(
                self.admin,
                service=self._settings.service,
                database=self._database,
                lsn=self.position,
            )

    def publish(
        self, rows: list[ProducerRecord], end_lsn: int, *, resent: int | None = None
    ) -> None:
        """
        Commit `rows` and the position behind them to Kafka, in one transaction. `resent`: the
        number of a transaction with held rows.

        Raises TransactionAborted (nothing is visible, the same call again is right), ProducerLost
        (the outcome is unknown: a new session reads it) or Stopped. A database connection that is
        lost meanwhile does not interrupt the transaction; Unavailable is raised after it.
        """
        if end_lsn < self.position:
            raise AssertionError(
                f"position {lsn_text(end_lsn)} is behind {lsn_text(self.position)}"
            )

        resent = self._resent if resent is None else resent
        offset = position_offset(
            Position(
                lsn=end_lsn,
                database=self._database,
                tick=self._tick,
                resent=resent,
                follows=self._follows,
            )
        )
        self._in_transaction = True
        try:
            # The position inside the records' transaction: both are committed, or neither.
            self._transactions.begin()
            if self._together is None:
                self._transactions.produce(rows)
            else:
                self._transactions.produce_apart(rows, together=self._together)
            failpoint("relay.after_produce", before=self._transactions.flush)
            self._transactions.send_offsets([offset], self._group_metadata)
            failpoint("relay.after_send_offsets")
            self._transactions.commit()
            failpoint("relay.after_kafka_commit")
        finally:
            self._in_transaction = False

        # Only now, after the commit; `read_back` has the last word on it.
        self.position, self._resent = end_lsn, resent
        self._store.passed(end_lsn)
        if self._broken is not None:
            raise self._broken

    def hand_over(self) -> None:
        """
        Let another reader publish what is behind the position, and nothing before it: close this
        session then, which frees the slot.

        The position on Kafka follows the slot from now on. Raises Refused while rows are held, for
        the other reader knows nothing of them; else as `publish`, or Unavailable.
        """
        if self.held:
            service = self._settings.service
            raise Refused(
                f"{self.held:,} rows of the outbox of {service} are held, and another reader would"
                f" publish what is behind them of their keys:"
                f" {self._settings.commands.held_rows.format(service=service)}"
            )

        # On Kafka before the slot is free: whoever starts next knows who moves the slot.
        self._follows = True
        self.publish([], self.position)
        while (there := read_position(self._consumer, between=self.keep_alive)) is None or (
            not there.follows
        ):
            self.pause(STANDBY_EVERY_S)
        self._read_position = self.position

        # Exactly up to the position: PostgreSQL sends the next reader what is behind it.
        give_up_at = time.monotonic() + CONFIRMED_WITHIN_S
        with unavailable_when_transient():
            while (slot := pg_catalog.find_slot(self.admin, self._settings.slot)) is not None and (
                slot.confirmed_flush < self.position
            ):
                if time.monotonic() > give_up_at:
                    raise Unavailable("the slot did not move to the position", resource="database")
                self.stream.confirm(self._read_position)
                self.pause(STANDBY_EVERY_S)

    @property
    def reports(self) -> Reports:
        """Where the records of the last `publish` are."""
        return self._transactions.reports

    def read_back(self) -> None:
        """
        Read the position from Kafka if it was committed since, and 2 s have passed.

        To be called outside a transaction: it waits up to 1 s for the commit's marker, then leaves
        it to the next call. Raises Unavailable when Kafka has less than it had acknowledged: a new
        session publishes the rows between again, which PostgreSQL still has.
        """
        now = time.monotonic()
        is_read = (self._read_position, self._read_resent) == (self.position, self._resent)
        if is_read or now - self._read_back_at < CONFIRM_EVERY_S:
            return
        self._read_back_at = now

        def between() -> None:
            self.keep_alive()
            if time.monotonic() - now > READ_BACK_WITHIN_S:
                raise _NoMarkerYet

        try:
            position = read_position(self._consumer, between=between)
        except _NoMarkerYet:
            return
        if position is None or position.lsn < self.position or position.resent < self._resent:
            raise Unavailable(
                f"Kafka had acknowledged position {lsn_text(self.position)}, and has "
                f"{lsn_text(position.lsn) if position else 'none'}: its commit was undone",
                resource="broker",
            )
        # Before this position is confirmed: of what is confirmed the next session sees no rows, and
        # so could not correct the note that a kill has left behind.
        self._note()
        self._read_position = self.position

        # Not before: of a commit that was only acknowledged the rows may have to be sent again.
        if self._read_resent != self._resent:
            self._store.settle(self._resent)
            self._read_resent = self._resent

    def note_published(self, sequence: int) -> None:
        """
        Note in the database, at most once a second, that rows up to `sequence` are published.

        For whoever counts what waits; nothing here reads it, and nothing waits for it or fails.
        """
        self._sequence = max(self._sequence, sequence)
        if time.monotonic() - self._noted_at >= NOTE_EVERY_S:
            self._note()

    def _note(self) -> None:
        if self._sequence <= self._noted_sequence:
            return
        self._noted_at = time.monotonic()
        # A database that is away shows in the stream; a note is written again a second later.
        with suppress(DatabaseError):
            relay_state.note_published(self.admin, self._settings.service, self._sequence)
            self._noted_sequence = self._sequence

    @property
    def held(self) -> int:
        """How many rows are held."""
        return self._store.held

    def hold(self, batch: Batch) -> str:
        """
        Hold the refused rows of `batch`, and those behind a held row of their lane; `batch.go` has
        the rest, which may be published together with its position.

        May be called again, with more refused rows. Returns why there is no room for more, in which
        case nothing was written; empty if all is held. Raises Unavailable.
        """
        store = self._store
        if not batch.why and not store.lanes and not store.ahead:
            return ""

        # By their ids: of what a killed relay has written down, the log has what was before it too,
        # and that may go.
        written = {place for place, row in enumerate(batch.rows) if event_id_of(row) in store.ahead}
        division = divide(batch.rows, lanes=store.lanes, refused=written | batch.why.keys())
        new = [place for place in division.hold if place not in written]
        if self.held + len(new) > self._settings.held_rows_max:
            service = self._settings.service
            return (
                f"{self.held:,} rows of the outbox of {service} are held, {len(new):,} more"
                f" would be too many: {self._settings.commands.held_rows.format(service=service)}"
            )

        # Before the position passes them: from then on nothing else has them.
        held = [Hold(batch.rows[place], batch.lsn_of(place), batch.why.get(place)) for place in new]
        store.hold(held)
        batch.go, batch.hold = division
        if held:
            failpoint("relay.after_hold")
        for each in held:
            if each.why is not None:
                log.error(
                    "a row is held: the broker refuses it",
                    event_id=event_id_of(each.row),
                    topic=each.row.topic,
                    why=each.why,
                )
        return ""

    def send_held_again(self) -> list[ProducerRecord] | None:
        """
        Publish the held rows whose turn has come, in their order, in a transaction of their own,
        and pass those that are to be discarded. Returns what was published, None if it was no
        row's turn.

        Once that is read back they are held no more. Raises TransactionAborted: they stay held, and
        those that were refused again wait for a new decision.
        """
        waiting = self._store.load(position=self.position, resent=self._resent)
        chosen = may_go(
            waiting, rows_max=self._settings.rows_max, bytes_max=self._settings.bytes_max
        )
        if not chosen:
            return None

        # The mark before the transaction that carries its number: a successor that reads the number
        # knows which rows were sent, and one that reads a lower one knows that none was.
        number = self._resent + 1
        rows = self._store.mark(chosen, number)
        failpoint("relay.after_mark")
        try:
            self.publish(rows, self.position, resent=number)
        except TransactionAborted as error:
            if error.refused is Refusal.RECORD:
                self._hold_again(rows)
            # It is known that nothing was sent: operators may decide anew, which a mark prevents.
            self._store.unmark(self._resent)
            raise

        failpoint("relay.after_resend")
        discarded = sum(row.wanted == DISCARD for row in chosen)
        log.info("held rows are sent", sent=len(rows), discarded=discarded)
        self._store.load(position=self.position, resent=self._resent)
        self._read_back_at = float("-inf")
        return rows

    def _hold_again(self, rows: list[ProducerRecord]) -> None:
        records, _ = self.find_refused(rows)
        refused = [
            (UUID(event_id_of(rows[record.place])), record.words)
            for record in records
            if record.what is Refusal.RECORD
        ]
        self._store.refused_again(refused)

        # Named once more: whoever mended the topic has not mended it enough.
        for event_id, words in refused:
            log.error("a held row is refused again", event_id=str(event_id), why=words)

    def find_refused(self, rows: list[ProducerRecord]) -> tuple[list[RefusedRecord], bool]:
        """
        Which of `rows` the broker refuses, each by itself. If it refuses none, it refuses them
        together: then this session sends smaller batches from now on, if there are any; true.

        Raises ProducerLost.
        """
        self._in_transaction = True
        try:
            refused = self._transactions.find_all_refused(rows)
        finally:
            self._in_transaction = False

        sizes = [size for size in TOGETHER if self._together is None or size < self._together]
        if refused or not sizes:
            return refused, False
        self._together = sizes[0]
        return refused, True

    def increment_tick(self) -> None:
        """
        Increment the database's counter when that is due; the next `publish` commits it to Kafka.

        The database's disk first: Kafka never has a higher count than a database that was not
        restored from a backup. Raises Unavailable, or ResyncNeeded when the relay's row is gone.
        """
        if time.monotonic() - self._ticked_at < self._settings.tick_every_s:
            return

        with unavailable_when_transient(), self._naming_the_way_out():
            self._tick = relay_state.increment_tick(self.admin, self._settings.service)
        self._ticked_at = time.monotonic()

    def keep_alive(self) -> None:
        """
        Confirm the read position to PostgreSQL if 2 s have passed or the server requested it.

        Called between all slices of waiting. Raises Stopped when a stop is requested: at once
        outside a transaction, after 4 s inside one. Raises Unavailable when the connection is lost,
        inside a transaction only after it.
        """
        now = time.monotonic()
        # Not inside a transaction: how long that takes is what a silent broker shows in.
        if not self._in_transaction:
            self._turning.mark("wait")
        if self._stopping():
            self._stop_seen_at = self._stop_seen_at or now
            if not self._in_transaction or now - self._stop_seen_at > GIVE_UP_AFTER_STOP_S:
                raise Stopped("stopped while waiting")

        if self._broken is None and (
            self.stream.reply_requested or now - self._confirmed_at >= CONFIRM_EVERY_S
        ):
            self._confirmed_at = now
            try:
                # Never beyond what was read from Kafka: PostgreSQL discards the log up to here.
                self.stream.confirm(self._read_position)
            except Unavailable as error:
                if not self._in_transaction:
                    raise
                self._broken = error

    def pause(self, seconds: float) -> None:
        """Wait and keep the connections alive. Raises Stopped when a stop is requested."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.keep_alive()
            time.sleep(min(left, STANDBY_EVERY_S))

    def close(self) -> None:
        """Confirm the position and free the slot. The next start ends an open transaction."""
        self._note()
        with suppress(Unavailable):
            self.stream.confirm(self._read_position)
        self.stream.close()
        self.admin.close()
        self._consumer.close()

    @contextmanager
    def _naming_the_way_out(self) -> Iterator[None]:
        try:
            yield
        except ResyncNeeded as error:
            resync = self._settings.commands.resync.format(service=self._settings.service)
            raise ResyncNeeded(
                f"{error}; nothing was changed; {resync} "
                "starts a new slot and publishes the retained rows again"
            ) from error


class _NoMarkerYet(Exception):
    """The last commit's marker is not there yet; the relay goes on meanwhile."""
