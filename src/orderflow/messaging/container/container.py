"""
The loop. Each turn: poll, admit, run waves, commit; and what is done about everything that can go wrong in between.

| what failed | what happens |
|---|---|
| the record can't be read, or does not belong on its topic | dead letter, at once |
| registry, database, provider or broker is away; deadlock | the stage closes, one probe per back-off; no attempt |
| a wave | it is put back and halved, until the record that fails alone is known |
| a record, alone | an attempt; back-off; after the last one a dead letter |
| 20 records alone, with no success in between | the handler is broken: as if a resource were away, and not ready |
| the transaction was aborted | its records go back to the heads of their queues; nothing is sought |
| its outcome is unknown, or the producer is finished | all state is dropped; new producer; again from `committed()` |
| another process runs in this slot | Fenced: this one ends |
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from orderflow.messaging import inbox
from orderflow.messaging.avro import Decoder, Encoder
from orderflow.messaging.container import delivery as deliveries
from orderflow.messaging.container.client import Client
from orderflow.messaging.container.failures import HANDLER, Failures
from orderflow.messaging.container.gate import Gate
from orderflow.messaging.container.intake import Intake
from orderflow.messaging.container.partition import Item, Partition
from orderflow.messaging.container.preparing import STOPPING, Preparing
from orderflow.messaging.container.publishing import Publisher
from orderflow.messaging.container.queues import Queues
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Poison, Refused, Transient, Unavailable
from orderflow.messaging.kafka.transactions import ProducerLost, TransactionAborted
from orderflow.messaging.listener import ExactlyOnce, InboxOutbox
from orderflow.messaging.offsets import Window
from orderflow.messaging.postgres import Session
from orderflow.messaging.registry import Registry
from orderflow.messaging.telemetry import counter, gauge, histogram, logger
from orderflow.messaging.testing.failpoints import failpoint

CALLS_POLL_S = 0.005
START_AGAIN_S = 0.5
INBOX_MARGIN = timedelta(days=5)

RECORDS = counter("listener_records", "Records, by how they ended.", ("listener", "outcome"))
WAITING = gauge("listener_waiting_records", "Admitted records that are not done.", ("listener",))
PAUSES = counter("listener_window_pauses", "Partitions paused because too much of them is unfinished.", ("listener",))
TURN_S = histogram("listener_commit_seconds", "How long the end of a turn takes.", ("listener",))

log = logger("listener")


class Stopped(OrderflowError):
    """Asked to stop while something was under way."""


class Container:
    """
    One worker of a listener. `run` it on a thread of its own; `reasons` may be asked from anywhere.

    Guarantee: see `listener`. Everything that time heals is waited for without bound, and told by `reasons`.
    """

    def __init__(self, settings: ContainerSettings) -> None:
        self._settings = settings
        self._listener = listener = settings.listener
        self._name = listener.name
        self._exactly_once = isinstance(listener.delivery, ExactlyOnce)
        self._stop = threading.Event()
        self._stop_seen_at: float | None = None
        self._missing = ["starting"]
        self._client: Client | None = None
        self._registry: Registry | None = None
        self._session: Session | None = None
        self._preparing: Preparing | None = None
        self._gates = {
            stage: Gate(self._name, stage) for stage in ("decode", "handle", "intent", "call", "outcome", "commit")
        }
        self._queues = Queues()
        self._failures = Failures(listener, self._queues, self._gates["handle"])
        self._wave_max = settings.records_max
        self._fresh = 0
        self._rest_until = 0.0
        self._committed_at = 0.0
        self._last_record_at = 0.0
        if isinstance(listener.delivery, InboxOutbox):
            if settings.database is None:
                raise ConfigurationError(f"listener {self._name}: InboxOutbox needs a database")
            self._session = Session(settings.database, application_name=f"{self._name}-listener")
            self._refuse_short_inbox()
        elif listener.delivery.prepare is not None:
            self._preparing = Preparing(
                listener.delivery.prepare,
                calls_max=listener.delivery.calls_max,
                records_max=settings.records_max,
                gates=self._gates,
                queues=self._queues,
                failures=self._failures,
                hand_on=self._hand_on,
            )

    # --- from outside

    def run(self, stop: threading.Event) -> None:
        """
        Listen until `stop` is set: then no new calls, at most 5 s for running ones, one last commit, and leave.

        Raises Fenced when another process runs in this slot, Refused or ConfigurationError when going on would be
        wrong, Unavailable when the group's state can't be read for 40 s: then the process starts again.
        """
        self._stop = stop
        try:
            self._start()
            while not stop.is_set():
                self._turn()
                if self._missing and self._kafka.is_member:
                    self._missing = []
                    log.info("listening", listener=self._name, group=self._listener.group, slot=self._settings.slot)
            self._last_turn()
        except Stopped:
            log.info("stopped while waiting", listener=self._name)
        finally:
            self._missing = ["stopped"]
            self._close()

    def reasons(self) -> list[str]:
        """What is in the way, for readiness; nothing if all is well."""
        told = [*self._missing, *(gate.reason for gate in self._gates.values() if gate.reason)]
        if self._client is not None and self._client.broker_error:
            told.append(f"broker: {self._client.broker_error}")
        return [f"listener {self._name}: {why}" for why in told]

    # --- start and stop

    def _start(self) -> None:
        settings = self._settings
        self._registry = registry = Registry(settings.registry)
        encoder = self._load_encoder(registry)
        self._intake = Intake(self._listener, Decoder(registry))
        self._publisher = Publisher(self._listener, encoder)
        self._missing = ["broker: joining"]
        self._client = Client(settings, between=self._between, before_revoke=self._commit_before_revoke)
        self._kafka = self._client
        self._kafka.open()

    def _load_encoder(self, registry: Registry) -> Encoder:
        topics = [topic.name for topic in self._listener.publishes]
        while True:
            try:
                return Encoder.load(registry, self._settings.catalogue, topics)
            except (Transient, ConfigurationError) as error:
                # Not registered yet may be a deploy step that is still to come.
                self._missing = [f"registry: {error}"]
            if self._stop.wait(START_AGAIN_S):
                raise Stopped("stopped before it began")

    def _refuse_short_inbox(self) -> None:
        for topic in self._listener.topics:
            if topic.retention is None or topic.retention + INBOX_MARGIN > inbox.RETENTION:
                raise Refused(
                    f"listener {self._name}: the inbox keeps {inbox.RETENTION.days} days, but {topic.name} may repeat "
                    "a record after that; keep the topic shorter or the inbox longer"
                )

    def _between(self) -> None:
        """Between slices of Kafka's own waiting: a stop gives a transaction some seconds, and the rest none."""
        if self._stop.is_set():
            now = time.monotonic()
            self._stop_seen_at = self._stop_seen_at or now
            if now - self._stop_seen_at > self._settings.stop_within_s:
                raise Stopped("stopped inside a transaction")

    def _last_turn(self) -> None:
        """What runs may end, what is ready may commit; the rest is in the offsets' metadata."""
        deadline = time.monotonic() + self._settings.stop_within_s
        if self._preparing is not None:
            self._preparing.stop()
            while self._preparing.calls.running and time.monotonic() < deadline:
                self._preparing.collect()
                time.sleep(CALLS_POLL_S)
            self._preparing.collect()
        self._waves()
        while self._kafka.committing and time.monotonic() < deadline:
            # What this brings is not admitted any more: somebody reads it again.
            self._kafka.poll(START_AGAIN_S, 1)
            self._end_commit()
        if self._exactly_once or self._queues.dead:
            self._end_turn()
        else:
            self._kafka.commit_now(self._plain_windows(self._kafka.partitions.values()))

    def _close(self) -> None:
        if self._preparing is not None:
            self._preparing.calls.close()
        if self._registry is not None:
            self._registry.close()
        if self._client is not None:
            self._client.close()
        if self._session is not None:
            self._session.close()

    # --- one turn

    def _turn(self) -> None:
        messages = self._kafka.poll(self._poll_timeout(), self._settings.records_max)
        if messages:
            self._last_record_at = time.monotonic()
            self._fresh += len(messages)
            partitions = self._kafka.partitions
            for message in messages:
                self._admit(partitions[message.topic(), message.partition()], message)
            failpoint("listener.after_poll")
        if self._kafka.committing:
            self._end_commit()
        now = time.monotonic()
        self._wake(now)
        if self._preparing is not None:
            self._preparing.step(now)
        if now < self._rest_until and not self._much and not self._stop.is_set():
            return
        self._fresh = 0
        self._waves()
        self._end_turn()
        self._refill()

    @property
    def _much(self) -> bool:
        """Is there so much that the rest is cut short?"""
        return self._fresh >= self._settings.records_max or len(self._queues.ready) >= self._settings.records_max

    def _poll_timeout(self) -> float:
        now, queues = time.monotonic(), self._queues
        if queues.ready and self._may_run(now):
            return 0.0 if self._much else max(0.0, self._rest_until - now)
        tries = [gate.next_try_at - now for gate in self._gates.values() if gate.single]
        if self._preparing is not None:
            if self._preparing.calls.running:
                tries.append(CALLS_POLL_S)
            elif queues.prep and not tries:
                return 0.0
        if queues.skipped or queues.dead:
            tries.append(self._rest_until - now)
        if queues.next_due is not None:
            tries.append(queues.next_due - now)
        if self._any_changed():
            tries.append(self._settings.commit_every_s)
        return max(0.001, min([self._settings.idle_after_s, *tries]))

    def _admit(self, partition: Partition, message: Any) -> None:
        if partition.held or not partition.may_admit(message.offset()):
            partition.held.append(message)
            if not partition.paused:
                PAUSES.labels(self._name).inc()
                self._kafka.pause([partition])
            return
        item = partition.admit(message)
        if item is not None and item.lane[0] is item:
            self._head(item)

    def _refill(self) -> None:
        """Admit what was held back, and fetch again where there is room and nothing is away."""
        self._open_idle_gates()
        away = any(gate.single for stage, gate in self._gates.items() if stage != "decode")
        for partition in list(self._kafka.partitions.values()):
            held = partition.held
            while held and partition.may_admit(held[0].offset()):
                item = partition.admit(held.popleft())
                if item is not None and item.lane[0] is item:
                    self._head(item)
            if away or held:
                self._kafka.pause([partition])
            elif partition.paused and partition.may_resume():
                self._kafka.resume([partition])

    def _open_idle_gates(self) -> None:
        """A closed stage with nothing left to probe with (its partitions went) must try with what comes next."""
        now, queues = time.monotonic(), self._queues
        calling = bool(queues.prep) or (self._preparing is not None and self._preparing.calls.running > 0)
        to_commit = queues.dead or queues.skipped or self._any_changed() or self._kafka.committing
        to_do = {
            "decode": queues.unread,
            "handle": queues.ready,
            "intent": calling,
            "call": calling,
            "outcome": queues.ended,
            "commit": to_commit or (self._exactly_once and queues.ready),
        }
        for stage, gate in self._gates.items():
            if gate.single and gate.may_try(now) and not to_do[stage]:
                gate.succeeded()

    def _wake(self, now: float) -> None:
        """Records whose waiting is over."""
        for item in self._queues.due(now):
            self._queue(item)
        if self._queues.unread and self._gates["decode"].may_try(now):
            unread = [item for item in self._queues.unread if item.is_head]
            self._queues.unread.clear()
            for item in unread:
                self._head(item)

    def _head(self, head: Item | None) -> None:
        """`head` is the first of its key: find out what it is, until one is found that must run or wait."""
        while head is not None:
            head = self._judge(head)

    def _hand_on(self, item: Item) -> None:
        """`item` is over: the next of its key comes up."""
        self._head(item.partition.advance(item))

    def _judge(self, item: Item) -> Item | None:
        """Queue `item` for what it needs; the next of its key, if this one is over."""
        decode = self._gates["decode"]
        try:
            if item.received is None:
                asks = decode.single and self._intake.needs_registry(item)
                if asks and not decode.may_try(time.monotonic()):
                    self._queues.unread.append(item)
                    return None
                handled = self._intake.read(item)
                if asks:
                    decode.succeeded()
                if not handled:
                    return self._skip(item)
        except Transient as error:
            decode.failed(error)
            self._queues.unread.append(item)
            return None
        except Poison as error:
            self._failures.give_up(item, error, attempts=0)
            return item.partition.advance(item)
        self._queue(item)
        return None

    def _queue(self, item: Item) -> None:
        queues = self._queues
        (queues.ready if self._preparing is None or item.settled else queues.prep).append(item)

    def _skip(self, item: Item) -> Item | None:
        RECORDS.labels(self._name, "skipped").inc()
        item.done = True
        if self._exactly_once:
            self._queues.skipped.append(item)
        else:
            item.partition.finish(item)
        return item.partition.advance(item)

    # --- waves

    def _may_run(self, now: float) -> bool:
        commit = self._gates["commit"]
        return self._gates["handle"].may_try(now) and (not self._exactly_once or commit.may_try(now))

    def _waves(self) -> None:
        began = time.monotonic()
        handled = 0
        while self._queues.ready and handled < self._settings.records_max and self._may_run(time.monotonic()):
            probing = self._gates["handle"].single or (self._exactly_once and self._gates["commit"].single)
            wave = self._queues.take_wave(1 if probing else self._wave_max)
            if not wave or not self._run_wave(wave):
                return
            handled += len(wave)
            if probing or time.monotonic() - began > self._settings.turn_s_max:
                return

    def _run_wave(self, wave: list[Item]) -> bool:
        """False when nothing more should run in this turn."""
        handle = self._gates["handle"]
        try:
            self._handle(wave)
        except Transient as error:
            handle.failed(error)
            self._queues.ready.extendleft(reversed(wave))
            return False
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001 - the container is the one place that catches broadly
            if handle.resource != HANDLER:
                handle.succeeded()
            self._failed(wave, error)
            return not handle.single
        handle.succeeded()
        self._failures.success()
        self._wave_max = min(self._settings.records_max, 2 * self._wave_max)
        return True

    def _handle(self, wave: list[Item]) -> None:
        delivery = self._listener.delivery
        if isinstance(delivery, ExactlyOnce):
            self._queues.outputs += deliveries.exactly_once(delivery, self._publisher, wave)
            self._queues.done += wave
            for item in wave:
                item.done = True
                if self._preparing is None:
                    self._hand_on(item)
            return
        assert self._session is not None
        deliveries.inbox_outbox(delivery, self._publisher, wave, listener=self._name, session=self._session)
        RECORDS.labels(self._name, "handled").inc(len(wave))
        for item in wave:
            item.done = True
            item.partition.finish(item)
            self._hand_on(item)

    def _failed(self, wave: list[Item], error: Exception) -> None:
        if len(wave) > 1:
            self._queues.ready.extendleft(reversed(wave))
            self._wave_max = max(1, len(wave) // 2)
            log.info("a wave failed, and is halved", listener=self._name, records=len(wave), why=repr(error))
        elif self._failures.alone(wave[0], error, self._queues.ready):
            self._hand_on(wave[0])

    # --- commit

    def _end_turn(self) -> None:
        now, queues = time.monotonic(), self._queues
        self._reach_ends(now)
        queues.drop_gone()
        if self._exactly_once:
            if queues.done or queues.skipped or queues.dead or self._any_changed():
                self._transact()
        elif self._kafka.committing or not self._gates["commit"].may_try(now):
            return
        elif queues.dead:
            self._transact()
        elif self._any_changed() and now - self._committed_at >= self._settings.commit_every_s:
            self._commit_plainly()

    def _any_changed(self) -> bool:
        return any(partition.changed for partition in self._kafka.partitions.values())

    def _reach_ends(self, now: float) -> None:
        """Idle lag reads 0: what lies between the last record and the end are markers."""
        if now - self._last_record_at < self._settings.idle_after_s:
            return
        for partition in self._kafka.partitions.values():
            # Of an empty partition there is nothing to say: 0 is where a reader begins anyway.
            if partition.eof > max(partition.next, 0) and all(item is None for item in partition.unfinished.values()):
                partition.reach_eof()

    def _transact(self) -> None:
        """Outputs, dead letters and offsets of this turn, in one Kafka transaction."""
        commit, queues = self._gates["commit"], self._queues
        began = time.monotonic()
        if not commit.may_try(began):
            queues.put_back()
            return
        if not self._kafka.is_member:
            queues.put_back()
            commit.failed(Unavailable("not a member of the group at this moment", resource="broker"))
            return
        windows = self._windows()
        try:
            self._kafka.transact([*queues.outputs, *(letter for _item, letter in queues.dead)], windows)
        except TransactionAborted as error:
            log.warning("aborted; its records are put back", listener=self._name, why=str(error))
            queues.put_back()
            commit.failed(error)
        except ProducerLost as error:
            self._kafka.renew(error)
            queues.forget()
        else:
            commit.succeeded()
            self._finish(windows)
            self._rest(began)

    def _finish(self, windows: Sequence[tuple[Partition, Window]]) -> None:
        queues = self._queues
        RECORDS.labels(self._name, "handled").inc(len(queues.done))
        RECORDS.labels(self._name, "dead").inc(len(queues.dead))
        handled = queues.done
        for item in queues.committed():
            item.partition.finish(item)
        for partition, _window in windows:
            partition.changed = False
        self._note(windows)
        if self._preparing is not None:
            for item in handled:
                self._hand_on(item)

    def _windows(self) -> list[tuple[Partition, Window]]:
        queues = self._queues
        touched = {item.partition for item in (*queues.done, *queues.skipped)}
        touched.update(item.partition for item, _letter in queues.dead)
        touched.update(partition for partition in self._kafka.partitions.values() if partition.changed)
        return [(partition, partition.window()) for partition in touched if partition.next >= 0]

    def _commit_plainly(self) -> None:
        windows = self._plain_windows(self._kafka.partitions.values())
        if windows:
            self._committed_at = time.monotonic()
            for partition, _window in windows:
                partition.changed = False
            self._kafka.begin_commit(windows)

    def _end_commit(self) -> None:
        """A plain commit was answered, or not yet. What could not be committed is committed with the next."""
        ended = self._kafka.end_commit()
        if ended is None:
            return
        windows, error = ended
        if error is None:
            self._gates["commit"].succeeded()
            self._note(windows)
            return
        for partition, _window in windows:
            partition.changed = True
        self._gates["commit"].failed(Unavailable(f"offsets: {error.str()}", resource="broker"))

    def _commit_before_revoke(self, leaving: list[Partition]) -> None:
        """What is done but not committed would be repeated by the next owner; the inbox would absorb it."""
        if not self._exactly_once:
            self._kafka.commit_now(self._plain_windows(leaving))

    def _plain_windows(self, partitions: Iterable[Partition]) -> list[tuple[Partition, Window]]:
        return [(p, p.window(settled=False)) for p in partitions if p.changed and p.next >= 0]

    def _note(self, windows: Sequence[tuple[Partition, Window]]) -> None:
        for partition, window in windows:
            partition.committed = window
        WAITING.labels(self._name).set(sum(len(p.unfinished) for p in self._kafka.partitions.values()))

    def _rest(self, began: float) -> None:
        """The rest after a commit: twice as long as it took, within bounds, so that load grows batches."""
        now = time.monotonic()
        least, most = self._settings.rest_s
        self._rest_until = now + min(most, max(least, 2 * (now - began)))
        TURN_S.labels(self._name).observe(now - began)
