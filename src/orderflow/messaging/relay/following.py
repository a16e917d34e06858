"""
A session of the caretaker: a position on Kafka that follows the slot which another reader reads.

What the slot has confirmed is on Kafka: the other reader confirms only what it has committed there.
So the confirmed LSN is a position, and is committed as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from orderflow.messaging.errors import ResyncNeeded, Stopped
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.transactions import Transactions, topic_exists
from orderflow.messaging.postgres import DatabaseError, connect, unavailable_when_transient
from orderflow.messaging.relay import pg_catalog, relay_state
from orderflow.messaging.relay.position import (
    POSITIONS_TOPIC,
    Database,
    position_offset,
    read_position,
)
from orderflow.messaging.relay.replication import ReplicationConnection
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.relay.start_decision import Refusal, StartConditions, decide


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The slot at one moment: whether somebody reads it, and how far it is confirmed."""

    is_read: bool
    confirmed: int
    wal_end: int


class Following:
    """
    Opened and closed once; after any Transient error, another one. One at a time works, by a lock
    in the database.
    """

    def __init__(self, settings: RelaySettings, *, stopping: Callable[[], bool]) -> None:
        self._settings = settings
        self._stopping = stopping
        self._tick = 0
        self._sequence = 0
        self._mark: tuple[int, int] | None = None
        self.position = 0

        self.admin = connect(settings.database, application_name=settings.group, autocommit=True)
        self._consumer = clients.consumer(settings.kafka, settings.group)
        self._transactions = Transactions(
            clients.transactional_producer(settings.kafka, settings.transactional_id),
            between=self._refuse_stop,
        )

    def take(self) -> bool:
        """Become the only caretaker of the outbox; False while another one is."""
        with unavailable_when_transient():
            row = self.admin.execute(_TAKE, (self._settings.group,)).fetchone()
        return bool(row and row[0])

    def follows(self) -> bool:
        """
        Whether the position on Kafka follows the slot; from then on this session may `look`.

        False: the relay has it, or nobody yet. Waits for the broker; raises Stopped, Unavailable.
        """
        if not topic_exists(self._consumer, POSITIONS_TOPIC):
            return False
        position = read_position(self._consumer, between=self._refuse_stop)
        if position is None or not position.follows:
            return False

        self._database = self._identify()
        # From here on no relay that was forgotten somewhere, and no other caretaker, moves it.
        self._transactions.init()
        self._group_metadata = self._consumer.consumer_group_metadata()
        self._read = read_position(self._consumer, between=self._refuse_stop) or position
        if not self._read.follows:
            return False
        self.position, self._tick = self._read.lsn, self._read.tick
        return True

    def look(self) -> Seen:
        """
        The slot now. Raises ResyncNeeded when position, slot and database do not fit together: rows
        might be missing on Kafka then.
        """
        with unavailable_when_transient(), self._naming_the_way_out():
            slot = pg_catalog.find_slot(self.admin, self._settings.slot)
            conditions = StartConditions(
                database=self._database,
                wal_end=pg_catalog.wal_end(self.admin),
                tick=relay_state.read_tick(self.admin, self._settings.service),
                position=self._read,
                slot=slot,
                publication_fits=pg_catalog.publication_fits(self.admin, self._settings.slot),
                outbox_empty=pg_catalog.outbox_empty(self.admin),
            )
            step = decide(conditions)
            if isinstance(step, Refusal):
                raise ResyncNeeded(
                    f"the outbox of {self._settings.service} can't be published on: {step.reason}"
                )

            # Without a slot there is no position that fits.
            assert slot is not None
            reader = pg_catalog.slot_reader(self.admin, self._settings.slot)
        return Seen(
            is_read=reader is not None,
            confirmed=slot.confirmed_flush,
            wal_end=conditions.wal_end,
        )

    def follow(self, seen: Seen, *, has_ticked: bool) -> None:
        """Commit the position that the slot has confirmed, and note what is published by it."""
        # After a crash a server may know less than it had confirmed: the position never goes back.
        lsn = max(self.position, seen.confirmed)
        if lsn > self.position or has_ticked:
            self._transactions.begin()
            position = msgspec.structs.replace(self._read, lsn=lsn, tick=self._tick)
            self._transactions.send_offsets([position_offset(position)], self._group_metadata)
            self._transactions.commit()
            self._read, self.position = position, lsn
        self._note()

    def increment_tick(self) -> None:
        """Raise the database's counter; the next `follow` commits it."""
        with unavailable_when_transient(), self._naming_the_way_out():
            self._tick = relay_state.increment_tick(self.admin, self._settings.service)

    def close(self) -> None:
        self.admin.close()
        self._consumer.close()

    def _identify(self) -> Database:
        dsn = self._settings.database.dsn.get_secret_value()
        stream = ReplicationConnection(
            dsn, application_name=self._settings.group, stopping=self._stopping
        )
        try:
            server = stream.identify()
        finally:
            stream.close()

        with unavailable_when_transient():
            return Database(
                system_identifier=server.system_identifier,
                timeline=server.timeline,
                oid=pg_catalog.database_oid(self.admin),
                slot=self._settings.slot,
            )

    def _note(self) -> None:
        """
        Note how far the outbox is published, for whoever counts what waits.

        By a mark: a sequence, and where the log ended after it was drawn. When the slot has passed
        that, the rows up to the sequence are published, and the next mark is set.
        """
        # A database that is away shows in the next look.
        with suppress(DatabaseError):
            if self._mark is not None and self.position >= self._mark[1]:
                sequence, self._mark = self._mark[0], None
                if sequence > self._sequence:
                    relay_state.note_published(self.admin, self._settings.service, sequence)
                    self._sequence = sequence
            if self._mark is None:
                drawn = pg_catalog.drawn_sequence(self.admin)
                self._mark = drawn, pg_catalog.insert_end(self.admin)

    def _refuse_stop(self) -> None:
        if self._stopping():
            raise Stopped("stopped while waiting")

    @contextmanager
    def _naming_the_way_out(self) -> Iterator[None]:
        try:
            yield
        except ResyncNeeded as error:
            resync = self._settings.commands.resync.format(service=self._settings.service)
            raise ResyncNeeded(f"{error}; {resync} is the way out") from error


_TAKE = "SELECT pg_try_advisory_lock(hashtext('caretaker'), hashtext(%s))"
