"""
Resync: gives a relay that refused to start a new slot, all retained rows again, and a new position.

Guarantee: every row that the database has, retained or yet to come, is on Kafka at least once under
its own id, and the rows of each key are in their order again. Rows that were published before are
there twice; their readers recognise them by the id. Rows that the relay holds stay held, and so
does what the broker refuses now, with what is behind it of its key. Cut off at any line, a resync
leaves a position that is marked as resyncing: the relay refuses to start until a resync has ended.

What can't come back: rows that only a lost copy of the database had, and rows older than the
outbox's retention.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import msgspec

from orderflow.messaging.errors import ConfigurationError, Refused, Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.transactions import (
    Refusal,
    RefusedRecord,
    TransactionAborted,
    Transactions,
    topic_exists,
)
from orderflow.messaging.postgres import unavailable_when_transient
from orderflow.messaging.relay import pg_catalog, relay_state
from orderflow.messaging.relay.held_store import HeldStore, Hold, event_id_of
from orderflow.messaging.relay.hold_decision import Lane, divide, lane_of
from orderflow.messaging.relay.position import (
    POSITIONS_TOPIC,
    Database,
    Position,
    position_offset,
    read_position,
)
from orderflow.messaging.relay.records import Highest, ProducerRecord
from orderflow.messaging.relay.replication import ExportedSlot, ReplicationConnection
from orderflow.messaging.relay.retained_rows import connect_for_long_reads, read_batches
from orderflow.messaging.relay.settings import RelaySettings

PATIENCE_S = 60.0
"""After this time without any progress a resync gives up."""

RETRY_AFTER_S = 0.5


class Resynced(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were published again, and the position from which the relay continues."""

    rows: int
    position: int


def resync(
    settings: RelaySettings, *, progress: Callable[[int], None] = lambda _rows: None
) -> Resynced:
    """
    Run a resync; `progress` is called with the number of rows on Kafka so far.

    Raises Refused, before anything is changed, while a relay reads the slot; ConfigurationError
    when outbox or topic is missing; Unavailable when broker or database does not answer for a
    minute; ProducerLost when the broker was away. After these two, and after a kill, run it again.
    """
    with ExitStack() as opened, unavailable_when_transient():
        return _Resync(settings, opened).run(progress)


class _Resync:
    """One attempt. `opened` closes its connections."""

    def __init__(self, settings: RelaySettings, opened: ExitStack) -> None:
        self._settings = settings
        self._progressed_at = time.monotonic()
        self._highest = 0
        self._held_ids: set[str] = set()
        self._held_lanes: set[Lane] = set()

        self._admin = opened.enter_context(connect_for_long_reads(settings))
        self._reading = opened.enter_context(connect_for_long_reads(settings))
        dsn = settings.database.dsn.get_secret_value()
        self._stream = opened.enter_context(
            closing(
                ReplicationConnection(
                    dsn, application_name=settings.slot, stopping=self._never_stop
                )
            )
        )

        self._consumer = opened.enter_context(
            closing(clients.consumer(settings.kafka, settings.group))
        )
        self._transactions = Transactions(
            clients.transactional_producer(settings.kafka, settings.transactional_id),
            between=self._give_up_without_progress,
        )

    def run(self, progress: Callable[[int], None]) -> Resynced:
        self._refuse_while_read()
        if not topic_exists(self._consumer, POSITIONS_TOPIC):
            raise ConfigurationError(
                f"topic {POSITIONS_TOPIC} does not exist: {self._settings.commands.apply_topics}"
            )

        database = self._identify()
        # A relay that still runs unseen is fenced here, before anything is changed.
        self._transactions.init()
        last_tick = self._mark_as_resyncing(database)
        failpoint("resync.after_mark")

        slot = self._replace_slot()
        self._load_held()
        rows = self._publish_retained(slot.snapshot, progress)
        self._commit_position(database, slot.start, last_tick)
        return Resynced(rows=rows, position=slot.start)

    def _identify(self) -> Database:
        server = self._stream.identify()
        return Database(
            system_identifier=server.system_identifier,
            timeline=server.timeline,
            oid=pg_catalog.database_oid(self._admin),
            slot=self._settings.slot,
        )

    def _mark_as_resyncing(self, database: Database) -> int:
        """Commit a position that every relay refuses; returns the count of the one before."""
        # First what an earlier producer left without its marker: the position has no answer then.
        mark = Position(lsn=0, database=database, resyncing=True)
        self._transactions.abort_remains(
            position_offset(mark), self._consumer.consumer_group_metadata()
        )
        before = read_position(self._consumer, between=self._give_up_without_progress)
        last_tick = before.tick if before else 0
        mark = msgspec.structs.replace(mark, tick=last_tick)

        # Before the slot is touched: killed after this line, no relay streams from a slot that
        # skips rows.
        self._commit([], mark)
        return last_tick

    def _replace_slot(self) -> ExportedSlot:
        """Drop the slot, make it anew; its snapshot sees exactly the rows that it never sends."""
        service, name = self._settings.service, self._settings.slot
        pg_catalog.drop_slot(self._admin, name)

        # Again: `drop_slot` leaves a slot alone that a relay took meanwhile.
        self._refuse_while_read()
        pg_catalog.make_publication(self._admin, name)
        slot = self._stream.export_slot(name)
        if slot is None:
            raise Refused(
                f"slot {name} was made by somebody else meanwhile: "
                f"stop every relay of {service}, try again"
            )
        return slot

    def _load_held(self) -> None:
        """What is held already: its rows are not published, nor what is behind them of their key"""
        self._store = HeldStore(self._admin, reader=None)
        self._store.forget_log()
        self._held_ids = self._store.event_ids()
        self._held_lanes = self._store.lanes_beyond_retention()

    def _publish_retained(self, snapshot: str, progress: Callable[[int], None]) -> int:
        rows, highest = 0, Highest()
        for batch in read_batches(self._reading, snapshot, self._settings, highest):
            # Without a position: only the last transaction of a resync ends the mark.
            rows += self._commit_or_hold(batch)
            progress(rows)
            failpoint("resync.after_rows")
        self._highest = highest.sequence
        return rows

    def _commit_or_hold(self, rows: list[ProducerRecord]) -> int:
        """Publish what the broker takes, and hold the rest; returns how many rows were published"""
        held = {place for place, row in enumerate(rows) if event_id_of(row) in self._held_ids}
        why: dict[int, str] = {}
        while True:
            division = divide(rows, lanes=self._held_lanes, refused=held | why.keys())
            going = [rows[place] for place in division.go]
            refused = self._commit(going, None)
            if not refused:
                break
            why |= {division.go[record.place]: record.words for record in refused}

        # After they were refused, before the position: until then the relay refuses to start.
        self._hold([Hold(rows[place], 0, why.get(place)) for place in division.hold])
        return len(going)

    def _hold(self, rows: list[Hold]) -> None:
        self._held_ids |= {event_id_of(each.row) for each in rows}
        self._held_lanes |= {lane_of(each.row) for each in rows}
        if len(self._held_ids) > self._settings.held_rows_max:
            service = self._settings.service
            raise Refused(
                f"more than {self._settings.held_rows_max:,} rows of {service} would be held:"
                " make their topic take them, then run it again"
            )
        self._store.hold(rows)

    def _commit_position(self, database: Database, lsn: int, last_tick: int) -> None:
        """Commit the position of the new slot's start: from here on the relay may stream."""
        service = self._settings.service
        relay_state.note_first_position(self._admin, service=service, database=database, lsn=lsn)
        relay_state.note_published(self._admin, service, self._highest)

        # Above the last position's count: the copy that was lost may have had more than this one.
        tick = relay_state.increment_tick(self._admin, service, above=last_tick)
        self._commit([], Position(lsn=lsn, database=database, tick=tick))

    def _commit(self, rows: list[ProducerRecord], position: Position | None) -> list[RefusedRecord]:
        """
        Commit one Kafka transaction, after an abort the same again, until patience ends. Returns
        the rows that the broker refuses by themselves; nothing is committed then.
        """
        is_apart = False

        while True:
            try:
                self._transactions.begin()
                if is_apart:
                    self._transactions.produce_apart(rows, together=1)
                else:
                    self._transactions.produce(rows)
                if position is not None:
                    metadata = self._consumer.consumer_group_metadata()
                    self._transactions.send_offsets([position_offset(position)], metadata)
                self._transactions.commit()
            except TransactionAborted as error:
                if error.refused is Refusal.RECORD:
                    refused = [
                        record
                        for record in self._transactions.find_all_refused(rows)
                        if record.what is Refusal.RECORD
                    ]
                    if refused:
                        return refused
                    # Each alone is taken, all together are not.
                    is_apart = True
                self._give_up_without_progress()
                time.sleep(RETRY_AFTER_S)
            else:
                self._progressed_at = time.monotonic()
                return []

    def _refuse_while_read(self) -> None:
        reader = pg_catalog.slot_reader(self._admin, self._settings.slot)
        if reader is not None:
            service, slot = self._settings.service, self._settings.slot
            stop = self._settings.commands.stop_relay.format(service=service)
            raise Refused(
                f"the relay of {service} is running (backend {reader} reads slot {slot}): {stop}"
            )

    def _never_stop(self) -> bool:
        self._give_up_without_progress()
        return False

    def _give_up_without_progress(self) -> None:
        if time.monotonic() - self._progressed_at > PATIENCE_S:
            raise Unavailable(
                f"the resync of {self._settings.service} does not get on: the broker is away, or a "
                "long transaction in the database keeps the slot from being made; run it again",
                resource="broker",
            )
