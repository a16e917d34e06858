"""
The relay: publishes what commits in the outbox to Kafka, in commit order, exactly once.

It reads the write-ahead log and puts whole database transactions into one Kafka transaction,
together with its own position. A small one is followed by a rest, longer when it took longer, so
more load makes larger batches, not more transactions. Killed at any line, the next relay
continues from the position that Kafka committed. Records of a transaction whose outcome is unknown
are never sent again from memory: a new session reads the committed position and streams from there.
"""

from __future__ import annotations

import threading
import time

from orderflow.messaging.errors import Fenced, Refused, Stopped, Transient, Unavailable, plain
from orderflow.messaging.kafka.publish_log import PublishLog, unpublished
from orderflow.messaging.kafka.sent import count_sent
from orderflow.messaging.kafka.transactions import RESOURCE as BROKER
from orderflow.messaging.kafka.transactions import ProducerLost, Refusal, TransactionAborted
from orderflow.messaging.postgres import Connection, connect
from orderflow.messaging.relay.batch_reader import BatchReader
from orderflow.messaging.relay.health import STREAMING, Health, RelayState, set_gauges
from orderflow.messaging.relay.outbox_partitions import PartitionKeeper
from orderflow.messaging.relay.position import lsn_text
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.row_traces import RowTraces
from orderflow.messaging.relay.session import Batch, RelaySession
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.telemetry import BATCH_BUCKETS, counter, histogram, logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.pace import rest_s
from orderflow.messaging.work.reasons import Degraded
from orderflow.messaging.work.turning import Turning

BACK_OFF_S = (0.1, 5.0)
KEEP_PARTITIONS_EVERY_S = 60.0
LOOK_AT_HELD_EVERY_S = 1.0
TURNS_WITHIN_S = 18.0
"""Longer than a database's silence (15 s); a Kafka transaction of a relay that is well takes ms."""

RECORDS = counter(
    "relay_records", "Outbox rows published, in committed Kafka transactions.", ("relay",)
)
TRANSACTIONS = counter(
    "relay_transactions",
    "Kafka transactions committed by the relay, idle ones included.",
    ("relay",),
)
ABORTS = counter(
    "relay_aborts", "Kafka transactions of the relay that were undone and sent again.", ("relay",)
)
RESTARTS = counter(
    "relay_restarts",
    "Times the relay went back to its committed position after a failure.",
    ("relay",),
)
BATCH_RECORDS = histogram(
    "relay_batch_records",
    "Outbox rows in one Kafka transaction, idle ones left out.",
    ("relay",),
    buckets=BATCH_BUCKETS,
)
COMMIT_S = histogram(
    "relay_commit_seconds", "How long a committed Kafka transaction of the relay takes.", ("relay",)
)

log = logger("relay")


class Relay:
    """
    Publishes one outbox. `run` needs a thread or process of its own; any thread may read `health`.

    Any number of relays of one service may run: one streams, the others stand by.
    """

    def __init__(self, settings: RelaySettings, *, clock: Clock = CLOCK) -> None:
        self._settings = settings
        self._name = settings.service
        self._stop = threading.Event()
        self._keeper = PartitionKeeper()
        self._traces = RowTraces(settings.service, clock)
        self._back_off_s = BACK_OFF_S[0]
        self._turning = Turning("relay", within_s=TURNS_WITHIN_S, clock=clock)
        self._keeping = Turning("outbox partitions", clock=clock)
        self._publish_log = PublishLog(settings.group)

        self._held = 0
        self._look_at_held_at = float("-inf")
        self.health = Health()
        self._has_streamed = False
        self._broker_is_away = False
        self._is_publishing = False

    def reasons(self) -> list[str]:
        """
        Why nothing is published, one sentence each; empty while it streams or stands by.

        A relay that has streamed, and now waits for the brokers, is only degraded.
        """
        health = self.health
        reasons = [] if health.ready else [f"relay {health.state}: {health.reason}".rstrip(": ")]
        if health.state is RelayState.WAITING and self._broker_is_away:
            reasons = [Degraded(reason) for reason in reasons]
        turning = self._turning.reasons()
        if self._is_publishing:
            # What a transaction of a relay waits for is the brokers, and nothing else.
            turning = [Degraded(reason) for reason in turning]
        return [*reasons, *self._held_reasons(), *turning, *self._keeping.reasons()]

    def _held_reasons(self) -> list[str]:
        held = self._held
        if not held:
            return []
        look = self._settings.commands.held_rows.format(service=self._name)
        what = "row of the outbox is" if held == 1 else "rows of the outbox are"
        return [Degraded(f"relay: {held:,} {what} held, which a topic refused: {look}")]

    def run(self, stop: threading.Event) -> None:
        """
        Publish until `stop` is set, then return within some seconds, whatever is unavailable.

        Waits without bound for everything that time heals. Raises ResyncNeeded when position, slot
        and database do not fit together (nothing was changed), Fenced when another relay took this
        one's place.
        """
        self._stop = stop
        set_gauges(self.health, relay=self._name)
        for each in (RECORDS, TRANSACTIONS, ABORTS, RESTARTS):
            each.labels(self._name)

        keeper = threading.Thread(
            target=self._keep_partitions, name="outbox-partitions", daemon=True
        )
        keeper.start()

        fenced_pid: int | None = None
        try:
            while not stop.is_set():
                fenced_pid = self._run_session(fenced_pid)
            self._report(RelayState.STOPPED)
        except Refused as error:
            self._report(RelayState.REFUSED, str(error))
            raise
        except Fenced as error:
            self._report(RelayState.FENCED, str(error))
            raise
        finally:
            self._turning.rest()
            STREAMING.labels(self._name).set(0)

    def _run_session(self, fenced_pid: int | None) -> int | None:
        """Run one session to its end. Returns its backend's process id if it was fenced."""
        session: RelaySession | None = None
        try:
            self._turning.mark("open a session")
            session = RelaySession(
                self._settings,
                stopping=self._stop.is_set,
                fenced_pid=fenced_pid,
                turning=self._turning,
            )
            session.open(on_standby=self._stand_by, before_first=self._keep_partitions_once)
            self._stream(session)
        except Stopped:
            pass
        except Transient as error:
            RESTARTS.labels(self._name).inc()
            self._is_publishing = False
            self._broker_is_away = self._has_streamed and error.resource == BROKER
            self._report(RelayState.WAITING, plain(error))
            log.warning("the relay starts over from its committed position", reason=str(error))

            # Without a back-off: the next session must find out at once whether this process was
            # replaced, or only its own transaction timed out.
            if isinstance(error, ProducerLost) and error.fenced and session is not None:
                return session.stream.backend_pid
            self._turning.rest()
            self._stop.wait(self._back_off_s)
            self._back_off_s = min(self._back_off_s * 2, BACK_OFF_S[1])
        finally:
            if session is not None:
                session.close()
        return None

    def _stream(self, session: RelaySession) -> None:
        """Read, publish, confirm, until a failure or a stop. Without rows: a position every 5 s."""
        self._back_off_s = BACK_OFF_S[0]
        self._has_streamed = True
        self._held = session.held
        self._report(RelayState.STREAMING, position=session.position)
        log.info("the relay streams", slot=self._settings.slot, position=lsn_text(session.position))

        reader = BatchReader(
            session.stream,
            published=session.position,
            rows_max=self._settings.rows_max,
            bytes_max=self._settings.bytes_max,
        )
        committed_at = time.monotonic()
        while not self._stop.is_set():
            self._turning.mark("read the log")
            rest = 0.0
            rows, end_lsn = reader.next_batch()

            # An idle database's log grows too: without a newer position the slot would retain it.
            now = time.monotonic()
            if rows or now - committed_at >= self._settings.idle_commit_every_s:
                self._publish(session, Batch(rows, reader.ends), end_lsn)
                committed_at = now
                rest = self._rest_s(len(rows), time.monotonic() - now)
                self._report(
                    RelayState.STREAMING, position=session.position, wal_end=session.stream.wal_end
                )
            session.note_published(reader.sequence)
            session.read_back()
            session.keep_alive()
            self._send_held_again(session)
            # Asleep, not reading: to be woken for each row would cost more than its sending.
            self._stop.wait(rest)

    def _rest_s(self, rows: int, took_s: float) -> float:
        """How long to rest after a transaction with so many rows."""
        if rows >= self._settings.rows_without_rest:
            return 0.0
        return rest_s(self._settings.rest_s, took_s)

    def _publish(self, session: RelaySession, batch: Batch, end_lsn: int) -> None:
        """
        Publish until it is committed: after an abort the same producer sends the same again.

        A row that the broker refuses for good is held, and with it those behind it of its key; all
        others go. While it refuses a topic, everything waits for that, with the reason.
        """
        self._turning.mark("publish")
        # Before the transaction, which carries the count: Kafka must never have a higher one than
        # the database.
        session.increment_tick()

        refusal, is_innocent = "", False
        while True:
            if not self._hold(session, batch):
                continue
            going = self._traces.begin(batch.going())
            began, self._is_publishing = time.monotonic(), True
            try:
                session.publish(going, end_lsn)
            except TransactionAborted as error:
                self._is_publishing = False
                ABORTS.labels(self._name).inc()
                # After a search the next abort's reason is only that something was refused in it.
                if is_innocent and not error.refused:
                    is_innocent = False
                    continue
                if error.refused:
                    refusal, is_innocent = self._judge(session, batch, going)
                    if is_innocent:
                        continue
                self._broker_is_away = not error.refused and not refusal
                self._wait(session, refusal or plain(error), going, words=str(error))
            except ProducerLost as error:
                if going:
                    log.warning(
                        "whether these are published is unknown: the committed position tells",
                        reason=str(error),
                        rows=len(going),
                        **unpublished(going),
                    )
                raise
            else:
                self._publish_log.committed(going, session.reports)
                self._is_publishing = False
                self._back_off_s = BACK_OFF_S[0]
                self._traces.end()
                self._count(going, time.monotonic() - began)
                return

    def _judge(
        self, session: RelaySession, batch: Batch, going: list[ProducerRecord]
    ) -> tuple[str, bool]:
        """
        Find what was refused of `going`. Returns why everything waits, empty if it is no topic; and
        whether there is something else to try at once: refused rows are to be held, or batches to
        be smaller.
        """
        refused, is_smaller = session.find_refused(going)
        for record in refused:
            if record.what is Refusal.RECORD:
                batch.why[batch.go[record.place]] = record.words

        for record in refused:
            if record.what is Refusal.TOPIC:
                topic = going[record.place].topic
                log.error("the broker refuses a topic", topic=topic, why=record.words)
                return (
                    f"the broker refuses topic {topic}: it is missing, or may not be written;"
                    f" nothing of the outbox of {self._name} is published until it takes rows"
                ), False
        if not refused and not is_smaller:
            return (
                f"the broker refuses one of {len(going)} rows of the outbox of {self._name}",
                False,
            )
        return "", True

    def _hold(self, session: RelaySession, batch: Batch) -> bool:
        """Hold what has to be held; false, after a wait, if that would be too much."""
        if no_room := session.hold(batch):
            self._broker_is_away = False
            self._wait(session, no_room, batch.going(), words=no_room)
            # What is held is sent or discarded meanwhile, else there would never be room.
            self._send_held_again(session)
            return False

        self._held = session.held
        return True

    def _wait(
        self, session: RelaySession, reason: str, rows: list[ProducerRecord], *, words: str
    ) -> None:
        """Say why `rows` are not published, and wait before they are tried again."""
        self._report(RelayState.WAITING, reason, position=session.position)
        log.warning(
            "rows are not published, and are tried again",
            reason=words,
            rows=len(rows),
            **unpublished(rows),
        )
        session.pause(self._back_off_s)
        self._back_off_s = min(self._back_off_s * 2, BACK_OFF_S[1])

    def _send_held_again(self, session: RelaySession) -> None:
        """Once a second while rows are held: send those about which an operator has decided."""
        now = time.monotonic()
        if not session.held or now < self._look_at_held_at:
            return
        self._look_at_held_at = now + LOOK_AT_HELD_EVERY_S
        self._turning.mark("send held rows")

        self._is_publishing = True
        try:
            began = time.monotonic()
            while (sent := session.send_held_again()) is not None:
                self._publish_log.committed(sent, session.reports)
                self._count(sent, time.monotonic() - began)
                began = time.monotonic()
        except TransactionAborted as error:
            ABORTS.labels(self._name).inc()
            log.warning("held rows were not sent, and are tried again", reason=str(error))
            if error.refused is Refusal.TOPIC:
                self._look_at_held_at = now + BACK_OFF_S[1]
        finally:
            self._is_publishing = False
        self._held = session.held

    def _count(self, rows: list[ProducerRecord], seconds: float) -> None:
        """Count a committed transaction."""
        TRANSACTIONS.labels(self._name).inc()
        COMMIT_S.labels(self._name).observe(seconds)
        RECORDS.labels(self._name).inc(len(rows))
        if rows:
            BATCH_RECORDS.labels(self._name).observe(len(rows))
            count_sent((row.topic, row.headers) for row in rows)

    def _stand_by(self) -> None:
        self._turning.mark("stand by")
        if self.health.state is not RelayState.STANDBY:
            self._report(RelayState.STANDBY, "another relay reads the slot")
            log.info("the relay stands by", slot=self._settings.slot)
            # What is held is the other one's to say.
            self._held = 0

    def _report(
        self,
        state: RelayState,
        reason: str = "",
        *,
        position: int | None = None,
        wal_end: int = 0,
    ) -> None:
        self.health = self.health.changed(state, reason, position=position, wal_end=wal_end)
        set_gauges(self.health, relay=self._name)

    def _keep_partitions(self) -> None:
        """Runs on a thread and a connection of its own: a lock it waits for delays no record."""
        while not self._stop.wait(KEEP_PARTITIONS_EVERY_S):
            if self.health.state is not RelayState.STREAMING:
                continue
            self._keeping.mark("look after outbox partitions")
            try:
                with connect(
                    self._settings.database, application_name="outbox-partitions", autocommit=True
                ) as own:
                    self._keep_partitions_once(own)
            except Unavailable as error:
                log.warning("outbox partitions were not looked after", reason=str(error))
            finally:
                self._keeping.rest()

    def _keep_partitions_once(self, connection: Connection) -> None:
        self._keeper.try_to_keep(connection, position=self.health.position)
