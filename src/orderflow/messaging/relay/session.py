"""
One relay session: from taking the slot to the first thing that goes wrong.

The order of the start is the guarantee. The slot first: PostgreSQL gives it to one reader. Then `init_transactions`,
which ends what a predecessor left open and fences it. Only then is the position read, so nobody can move it any more;
and only then is decided whether it fits. All that ends at or before it is skipped: it is on Kafka already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from orderflow.messaging.errors import Fenced, ResyncNeeded, Stopped, Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.clients import TopicPartition
from orderflow.messaging.kafka.transactions import Transactions, committed, topic_exists
from orderflow.messaging.postgres import Connection, connect, unavailable_when_transient
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay import pg_catalog, relay_state
from orderflow.messaging.relay.position import (
    POSITIONS_PARTITION,
    POSITIONS_TOPIC,
    Database,
    Position,
    from_committed,
    lsn_text,
    to_metadata,
)
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.replication import ReplicationConnection
from orderflow.messaging.relay.start_decision import (
    WAY_OUT,
    Refusal,
    ReplicationSlot,
    StartConditions,
    StartStep,
    decide,
)
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings

CONFIRM_EVERY_S = 2.0
STANDBY_EVERY_S = 0.1
GIVE_UP_AFTER_STOP_S = 4.0

_POSITIONS = TopicPartition(POSITIONS_TOPIC, POSITIONS_PARTITION)


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which outbox goes where. `service` names slot and publication, group and transactional id."""

    service: str
    database: DatabaseSettings
    kafka: KafkaSettings
    rows_max: int = 2_000
    bytes_max: int = 8 * 1024 * 1024
    idle_commit_every_s: float = 60.0
    tick_every_s: float = 60.0
    """How often the database counts on: an older copy of it is noticed if a count lies between."""

    @property
    def slot(self) -> str:
        """The slot's name, and the publication's."""
        return f"relay_{self.service}"

    @property
    def group(self) -> str:
        return f"relay.{self.service}"

    @property
    def transactional_id(self) -> str:
        return f"{self.service}.relay.0"


def position_offset(position: Position) -> TopicPartition:
    """The position as the offset that says it."""
    return TopicPartition(POSITIONS_TOPIC, POSITIONS_PARTITION, position.lsn, to_metadata(position))


class RelaySession:
    """
    Made, opened and closed once. Every error that time heals is Transient: close, and open another session.

    `fenced_pid`: the previous session's backend, if that session was fenced; then another reader of the slot means that
    this process was replaced, and `open` raises Fenced.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        stopping: Callable[[], bool],
        fenced_pid: int | None = None,
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._fenced_pid = fenced_pid
        self._stop_seen_at: float | None = None
        self._confirmed_at = 0.0
        self._broken: Unavailable | None = None
        self._in_transaction = False
        self._tick = 0
        self._ticked_at = float("-inf")
        self.position = 0
        self._producer = clients.transactional_producer(settings.kafka, settings.transactional_id)
        self._consumer = clients.consumer(settings.kafka, settings.group)
        self._transactions = Transactions(self._producer, between=self.keep_alive)
        self.admin = connect(settings.database, application_name=settings.group, autocommit=True)
        dsn = settings.database.dsn.get_secret_value()
        self.stream = ReplicationConnection(dsn, application_name=settings.slot, stopping=stopping)

    def open(
        self, *, on_standby: Callable[[], None], before_first: Callable[[Connection], None]
    ) -> None:
        """
        Take the slot, fence the predecessor, find the position; wait as a standby while another relay has the slot.

        Raises ResyncNeeded when position, slot and database do not fit together. `before_first` runs before a
        database's first position is committed.
        """
        with unavailable_when_transient():
            self._server = self.stream.identify()
            self._database = Database(
                system_identifier=self._server.system_identifier,
                timeline=self._server.timeline,
                oid=pg_catalog.database_oid(self.admin),
                slot=self._settings.slot,
            )
            slot = self._take_slot(on_standby)
            self._transactions.init()
            position = self._committed()
            self._admit(position, slot)
            self._group_metadata = self._consumer.consumer_group_metadata()
            if position is None:
                before_first(self.admin)
                self.publish([], slot.confirmed_flush)
            else:
                self.position = position.lsn
            relay_state.note_first_position(
                self.admin,
                service=self._settings.service,
                database=self._database,
                lsn=self.position,
            )

    def publish(self, rows: list[ProducerRecord], end_lsn: int) -> None:
        """
        Put `rows` and the position behind them on Kafka, in one transaction.

        Raises TransactionAborted (nothing of it is visible, the same again is right), ProducerLost (unknown: a new
        session finds out) or Stopped. A lost database connection does not interrupt it: that is told afterwards.
        """
        if end_lsn < self.position:
            raise AssertionError(
                f"position {lsn_text(end_lsn)} is behind {lsn_text(self.position)}"
            )
        offset = position_offset(Position(lsn=end_lsn, database=self._database, tick=self._tick))
        self._in_transaction = True
        try:
            self._transactions.begin()
            self._transactions.produce(rows)
            failpoint("relay.after_produce", before=self._transactions.flush)
            self._transactions.send_offsets([offset], self._group_metadata)
            failpoint("relay.after_send_offsets")
            self._transactions.commit()
            failpoint("relay.after_kafka_commit")
        finally:
            self._in_transaction = False
        self.position = end_lsn
        if self._broken is not None:
            raise self._broken

    def increment_tick(self) -> None:
        """
        Let the database count on when that is due; what is published next carries the count to Kafka.

        In this order: Kafka never knows a higher count than the database that was not replaced. Raises Unavailable, or
        ResyncNeeded when the relay's row is gone.
        """
        if time.monotonic() - self._ticked_at < self._settings.tick_every_s:
            return
        with unavailable_when_transient():
            self._tick = relay_state.increment_tick(self.admin, self._settings.service)
        self._ticked_at = time.monotonic()

    def keep_alive(self) -> None:
        """
        Confirm the position to PostgreSQL when 2 s have passed or it asked; called between all slices of waiting.

        Raises Stopped on a stop: at once while nothing is under way, after 4 s in a transaction.
        """
        now = time.monotonic()
        if self._stopping():
            self._stop_seen_at = self._stop_seen_at or now
            if not self._in_transaction or now - self._stop_seen_at > GIVE_UP_AFTER_STOP_S:
                raise Stopped("stopped while waiting")
        if self._broken is None and (
            self.stream.reply_requested or now - self._confirmed_at >= CONFIRM_EVERY_S
        ):
            self._confirmed_at = now
            try:
                self.stream.confirm(self.position)
            except Unavailable as error:
                if not self._in_transaction:
                    raise
                self._broken = error

    def pause(self, seconds: float) -> None:
        """Wait and stay alive. Raises Stopped when a stop is asked for meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.keep_alive()
            time.sleep(min(left, STANDBY_EVERY_S))

    def close(self) -> None:
        """Tell PostgreSQL how far we came and free the slot. An open transaction is ended by the next start."""
        with suppress(Unavailable):
            self.stream.confirm(self.position)
        self.stream.close()
        self.admin.close()
        self._consumer.close()

    def _take_slot(self, on_standby: Callable[[], None]) -> ReplicationSlot:
        """Make the slot if there is none and may be one; return when this process is its only reader."""
        name = self._settings.slot
        made: ReplicationSlot | None = None
        while True:
            found = made or pg_catalog.find_slot(self.admin, name)
            if found is None:
                made = self._make_slot()
            elif found.lost or self.stream.start(name, name):
                # Read again: a predecessor may have moved it until the moment it let go.
                return made or pg_catalog.find_slot(self.admin, name) or found
            else:
                made = None
                self._refuse_if_replaced()
                on_standby()
                if self._stopping():
                    raise Stopped("stopped while standing by")
                time.sleep(STANDBY_EVERY_S)

    def _make_slot(self) -> ReplicationSlot | None:
        """None when another process made it first."""
        step = self._judge(self._committed(), None)
        assert step is StartStep.MAKE_SLOT
        pg_catalog.make_publication(self.admin, self._settings.slot)
        new = self.stream.make_slot(self._settings.slot, table=TABLE)
        return new and ReplicationSlot(
            confirmed_flush=new.start, made_now=True, misses_rows=new.misses_rows
        )

    def _admit(self, position: Position | None, slot: ReplicationSlot) -> None:
        """Return when streaming may go on. What this start made and may not use, it takes away again."""
        try:
            step = self._judge(position, slot)
        except ResyncNeeded:
            if slot.made_now:
                self._drop_slot()
            raise
        if step is StartStep.REMAKE_SLOT:
            self._drop_slot()
            raise Unavailable(
                "a slot that nothing needs was dropped, and is made again now", resource="database"
            )

    def _judge(self, position: Position | None, slot: ReplicationSlot | None) -> StartStep:
        self._tick = relay_state.read_tick(self.admin, self._settings.service)
        found = StartConditions(
            database=self._database,
            wal_end=max(self._server.wal_end, pg_catalog.wal_end(self.admin)),
            tick=self._tick,
            position=position,
            slot=slot,
            publication_fits=pg_catalog.publication_fits(self.admin, self._settings.slot),
            outbox_empty=pg_catalog.outbox_empty(self.admin),
        )
        step = decide(found)
        if isinstance(step, Refusal):
            raise ResyncNeeded(
                f"the relay of {self._settings.service} refuses to start: {step.reason}; {WAY_OUT}"
            )
        return step

    def _committed(self) -> Position | None:
        if not topic_exists(self._consumer, POSITIONS_TOPIC):
            raise Unavailable(
                f"topic {POSITIONS_TOPIC} does not exist: `orderflow topics apply`",
                resource="broker",
            )
        answer = committed(self._consumer, _POSITIONS, between=self.keep_alive)
        return None if answer.offset < 0 else from_committed(answer.offset, answer.metadata)

    def _refuse_if_replaced(self) -> None:
        """A fenced relay that finds another reader at its slot was replaced, unless that reader is its own past."""
        reader = pg_catalog.slot_reader(self.admin, self._settings.slot)
        if self._fenced_pid is not None and reader not in (None, self._fenced_pid):
            raise Fenced(
                f"the relay of {self._settings.service} runs elsewhere (backend {reader} reads slot "
                f"{self._settings.slot}, Kafka answered _FENCED): nothing of this one's last batch is visible; it ends"
            )

    def _drop_slot(self) -> None:
        """Leave the stream, which frees the slot, and drop it. If another process took it meanwhile it stays."""
        self.stream.close()
        pg_catalog.drop_slot(self.admin, self._settings.slot)
