"""
Starting a relay anew after it refused: a new slot first, then every row that the outbox still has, then the position.

Guarantee: every row that the database has, retained or yet to come, is on Kafka at least once under its own id, and the
rows of a key are again in their order. What was there before is there twice, and its readers know it by the id. Cut off
at any line, it leaves a position that says so: the relay goes on refusing until a resync has ended. What cannot come
back: rows that another, lost copy of the database had, and those older than the outbox's retention.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime

import msgspec

from orderflow.messaging.errors import ConfigurationError, Refused, Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.clients import TopicPartition
from orderflow.messaging.kafka.transactions import (
    TransactionAborted,
    Transactions,
    committed,
    topic_exists,
)
from orderflow.messaging.postgres import Connection, connect, unavailable_when_transient
from orderflow.messaging.postgres.outbox import TABLE
from orderflow.messaging.relay import pg_catalog, relay_state
from orderflow.messaging.relay.pgoutput import Relation
from orderflow.messaging.relay.position import (
    POSITIONS_PARTITION,
    POSITIONS_TOPIC,
    Database,
    Position,
    from_committed,
)
from orderflow.messaging.relay.records import ProducerRecord, record_reader
from orderflow.messaging.relay.replication import ReplicationConnection
from orderflow.messaging.relay.session import RelaySettings, position_offset

PATIENCE_S = 60.0
"""How long nothing may move before it is given up."""

FETCH_ROWS = 100
RETRY_AFTER_S = 0.5
STATEMENT_TIMEOUT = "10min"


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """What the outbox still has."""

    rows: int
    since: datetime | None


class Resynced(msgspec.Struct, frozen=True, kw_only=True):
    """What was published again, and the position from which the relay goes on."""

    rows: int
    position: int


def retained(settings: RelaySettings) -> Retained:
    """What a resync would publish again. Raises ConfigurationError when the database has no outbox."""
    with _connect(settings) as connection:
        row = connection.execute(f"SELECT count(*), min(created_at) FROM {TABLE}").fetchone()  # noqa: S608 - a constant
    assert row is not None
    return Retained(rows=row[0], since=row[1])


def resync(
    settings: RelaySettings, *, progress: Callable[[int], None] = lambda _rows: None
) -> Resynced:
    """
    Do it, telling `progress` how many rows are on Kafka so far.

    Raises Refused, before anything is changed, while a relay reads the slot; Unavailable when broker or database does
    not answer for a minute. Then it can simply be run again.
    """
    with ExitStack() as opened, unavailable_when_transient():
        return _Resync(settings, opened).run(progress)


class _Resync:
    """One attempt."""

    def __init__(self, settings: RelaySettings, opened: ExitStack) -> None:
        self._settings = settings
        self._moved_at = time.monotonic()
        self._admin = opened.enter_context(_connect(settings))
        self._reading = opened.enter_context(_connect(settings))
        self._consumer = opened.enter_context(
            closing(clients.consumer(settings.kafka, settings.group))
        )
        self._transactions = Transactions(
            clients.transactional_producer(settings.kafka, settings.transactional_id),
            between=self._give_up_when_stuck,
        )
        dsn = settings.database.dsn.get_secret_value()
        self._stream = opened.enter_context(
            closing(
                ReplicationConnection(
                    dsn, application_name=settings.slot, stopping=self._never_stop
                )
            )
        )

    def run(self, progress: Callable[[int], None]) -> Resynced:
        service, slot = self._settings.service, self._settings.slot
        self._refuse_while_read()
        if not topic_exists(self._consumer, POSITIONS_TOPIC):
            raise ConfigurationError(
                f"topic {POSITIONS_TOPIC} does not exist: `orderflow topics apply`"
            )
        server = self._stream.identify()
        database = Database(
            system_identifier=server.system_identifier,
            timeline=server.timeline,
            oid=pg_catalog.database_oid(self._admin),
            slot=slot,
        )
        self._transactions.init()
        before = self._committed()
        self._commit(
            [],
            Position(lsn=0, database=database, tick=before.tick if before else 0, resyncing=True),
        )
        failpoint("resync.after_mark")
        pg_catalog.drop_slot(self._admin, slot)
        self._refuse_while_read()
        pg_catalog.make_publication(self._admin, slot)
        made = self._stream.export_slot(slot)
        if made is None:
            raise Refused(
                f"slot {slot} was made by somebody else meanwhile: stop every relay of {service}, try again"
            )
        rows = 0
        for batch in self._retained(made.snapshot):
            self._commit(batch, None)
            rows += len(batch)
            progress(rows)
            failpoint("resync.after_rows")
        relay_state.note_first_position(
            self._admin, service=service, database=database, lsn=made.start
        )
        tick = relay_state.increment_tick(self._admin, service, above=before.tick if before else 0)
        self._commit([], Position(lsn=made.start, database=database, tick=tick))
        return Resynced(rows=rows, position=made.start)

    def _retained(self, snapshot: str) -> Iterator[list[ProducerRecord]]:
        """The rows that the snapshot sees, in their order, as many as fit into a Kafka transaction at a time."""
        reading = self._reading
        reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reading.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())
        query = f"SELECT * FROM {TABLE} ORDER BY sequence"  # noqa: S608
        reading.execute(f"DECLARE retained NO SCROLL CURSOR FOR {query}")
        batch: list[ProducerRecord] = []
        size = 0
        while fetched := _fetch(reading):
            for record in fetched:
                batch.append(record)
                size += len(record.value)
                if len(batch) >= self._settings.rows_max or size >= self._settings.bytes_max:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _commit(self, rows: list[ProducerRecord], position: Position | None) -> None:
        """One Kafka transaction, again and again until it is committed or patience ends."""
        while True:
            try:
                self._transactions.begin()
                self._transactions.produce(rows)
                if position is not None:
                    metadata = self._consumer.consumer_group_metadata()
                    self._transactions.send_offsets([position_offset(position)], metadata)
                self._transactions.commit()
            except TransactionAborted:
                self._give_up_when_stuck()
                time.sleep(RETRY_AFTER_S)
            else:
                self._moved_at = time.monotonic()
                return

    def _committed(self) -> Position | None:
        partition = TopicPartition(POSITIONS_TOPIC, POSITIONS_PARTITION)
        answer = committed(self._consumer, partition, between=self._give_up_when_stuck)
        return None if answer.offset < 0 else from_committed(answer.offset, answer.metadata)

    def _refuse_while_read(self) -> None:
        reader = pg_catalog.slot_reader(self._admin, self._settings.slot)
        if reader is not None:
            raise Refused(
                f"the relay of {self._settings.service} is running (backend {reader} reads slot {self._settings.slot}):"
                f" stop it first, on the local stack with `orderflow stop {self._settings.service}-relay`"
            )

    def _never_stop(self) -> bool:
        self._give_up_when_stuck()
        return False

    def _give_up_when_stuck(self) -> None:
        """Raise Unavailable when nothing has moved for too long."""
        if time.monotonic() - self._moved_at > PATIENCE_S:
            raise Unavailable(
                f"the resync of {self._settings.service} does not get on: the broker is away, or a long transaction in "
                "the database keeps the slot from being made; run it again",
                resource="broker",
            )


def _connect(settings: RelaySettings) -> Connection:
    """A session that may read for long. Raises ConfigurationError when the database has no outbox, or an old one."""
    connection = connect(
        settings.database, application_name=f"{settings.group}.resync", autocommit=True
    )
    connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'".encode())
    connection.execute("SET idle_in_transaction_session_timeout = 0")
    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)", (TABLE,)
    ).fetchall()
    if ("sequence",) not in columns:
        connection.close()
        what = (
            "an outbox without the column `sequence`: migrate it first"
            if columns
            else "no outbox: nothing to resync"
        )
        raise ConfigurationError(f"the database of {settings.service} has {what}")
    return connection


def _fetch(connection: Connection) -> list[ProducerRecord]:
    """The next rows as the bytes that a replication stream has too."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(f"FETCH {FETCH_ROWS} FROM retained".encode())
        columns = tuple(column.name for column in cursor.description or ())
        result = cursor.pgresult
        assert result is not None
        read = record_reader(Relation(0, TABLE, columns))
        return [
            read([result.get_value(row, column) for column in range(result.nfields)])
            for row in range(result.ntuples)
        ]
