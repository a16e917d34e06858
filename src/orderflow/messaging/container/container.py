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

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from orderflow.messaging import dead_letter, inbox
from orderflow.messaging.avro import Decoder, Encoder
from orderflow.messaging.container import delivery as deliveries
from orderflow.messaging.container.calls import Calls, Finished
from orderflow.messaging.container.client import Client
from orderflow.messaging.container.gate import Gate
from orderflow.messaging.container.intake import Intake
from orderflow.messaging.container.partition import Item, Partition
from orderflow.messaging.container.publishing import Publisher
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import (
    ConfigurationError,
    Fenced,
    OrderflowError,
    Poison,
    Refused,
    Transient,
    Unavailable,
)
from orderflow.messaging.kafka.transactions import Produced, ProducerLost, TransactionAborted
from orderflow.messaging.listener import Ask, ExactlyOnce, InboxOutbox, Settled, Unknown, dead_letter_topic
from orderflow.messaging.offsets import Window
from orderflow.messaging.postgres import Session
from orderflow.messaging.registry import Registry
from orderflow.messaging.telemetry import counter, gauge, histogram, logger

JITTER = 0.2
CALLS_POLL_S = 0.005
HELD_POLL_S = 0.05
START_AGAIN_S = 0.5
INBOX_MARGIN = timedelta(days=5)

RECORDS = counter("listener_records", "Records, by how they ended.", ("listener", "outcome"))
ATTEMPTS = counter("listener_failed_attempts", "Records that failed alone.", ("listener",))
WAITING = gauge("listener_waiting_records", "Admitted records that are not done.", ("listener",))
TURN_S = histogram("listener_commit_seconds", "How long the end of a turn takes.", ("listener",))

log = logger("listener")

_jitter = random.Random()  # noqa: S311 - spreads retries; nothing secret
_STOP = (Fenced, Refused, ConfigurationError)


class UnknownOutcome(OrderflowError):
    """For an hour nobody could say how it ended: an operator must."""


class Stopped(OrderflowError):
    """Asked to stop while something was under way."""


class Container:
    """
    One worker of a listener. `run` it on a thread of its own; `reasons` and `stopped` may be asked from anywhere.

    Guarantee: see `listener`. Everything that time heals is waited for without bound, and told by `reasons`.
    """

    def __init__(self, settings: ContainerSettings) -> None:
        self._settings = settings
        listener = settings.listener
        self._listener = listener
        self._name = listener.name
        self._exactly_once = isinstance(listener.delivery, ExactlyOnce)
        self._prepare = listener.delivery.prepare if isinstance(listener.delivery, ExactlyOnce) else None
        self._stop = threading.Event()
        self._missing = ["starting"]
        self._session: Session | None = None
        if isinstance(listener.delivery, InboxOutbox):
            if settings.database is None:
                raise ConfigurationError(f"listener {self._name}: InboxOutbox needs a database")
            self._session = Session(settings.database, application_name=f"{self._name}-listener")
            self._refuse_short_inbox()
        self._gates = {
            stage: Gate(self._name, stage) for stage in ("decode", "handle", "intent", "call", "outcome", "commit")
        }
        self._dlt = {name: dead_letter_topic(topic, listener.group).name for name, topic in listener.subscribed.items()}
        calls_max = listener.delivery.calls_max if isinstance(listener.delivery, ExactlyOnce) else 0
        self._calls = Calls(self._prepare.call, calls_max) if self._prepare is not None else None
        self._wave_max = settings.records_max
        self._lone_failures = 0
        self._sequence = count()
        self._rest_until = 0.0
        self._committed_at = 0.0
        self._last_record_at = 0.0
        self._stop_seen_at: float | None = None
        self._client: Client | None = None
        self._registry: Registry | None = None
        self._ready: deque[Item] = deque()
        self._prep: deque[Item] = deque()
        self._unread: deque[Item] = deque()
        self._waiting: list[tuple[float, int, Item]] = []
        self._ended: list[Finished] = []
        self._done: list[Item] = []
        self._settled: list[Item] = []
        self._dead: list[tuple[Item, Produced]] = []
        self._outputs: list[Produced] = []

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
        if self._calls is not None:
            while self._calls.running and time.monotonic() < deadline:
                self._collect()
                time.sleep(CALLS_POLL_S)
            self._collect()
        self._waves()
        self._committed_at = 0.0
        self._end_turn()

    def _close(self) -> None:
        if self._calls is not None:
            self._calls.close()
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
            partitions = self._kafka.partitions
            for message in messages:
                self._admit(partitions[message.topic(), message.partition()], message)
        now = time.monotonic()
        self._wake(now)
        if self._prepare is not None:
            self._collect()
            self._intend(now)
            self._collect()
        if now < self._rest_until and len(self._ready) < self._settings.records_max and not self._stop.is_set():
            return
        self._waves()
        self._end_turn()
        self._refill()

    def _poll_timeout(self) -> float:
        now = time.monotonic()
        if self._ready and self._may_run(now):
            return 0.0 if len(self._ready) >= self._settings.records_max else max(0.0, self._rest_until - now)
        timeout = self._settings.idle_after_s
        if self._waiting:
            timeout = min(timeout, self._waiting[0][0] - now)
        if any(partition.changed for partition in self._kafka.partitions.values()):
            timeout = min(timeout, self._settings.commit_every_s)
        tries = [gate.next_try_at - now for gate in self._gates.values() if gate.single]
        if self._calls is not None and self._calls.running:
            tries.append(CALLS_POLL_S)
        elif self._prep and not tries:
            return 0.0
        if self._settled or self._dead:
            tries.append(max(self._rest_until - now, 0.0))
        return max(0.001, min([timeout, *tries]))

    def _admit(self, partition: Partition, message: Any) -> None:
        if partition.held or not partition.may_admit(message.offset()):
            partition.held.append(message)
            self._kafka.pause([partition])
            return
        item = partition.admit(message)
        if item is not None and item.lane[0] is item:
            self._head(item)

    def _refill(self) -> None:
        """Admit what was held back, and fetch again where there is room."""
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

    def _head(self, head: Item | None) -> None:
        """`head` is the first of its key: find out what it is, until one is found that must run or wait."""
        while head is not None:
            head = self._judge(head)

    def _judge(self, item: Item) -> Item | None:
        """Queue `item` for what it needs; the next of its key, if this one is over."""
        decode = self._gates["decode"]
        try:
            if item.received is None:
                asks = decode.single and self._intake.needs_registry(item)
                if asks and not decode.may_try(time.monotonic()):
                    self._unread.append(item)
                    return None
                handled = self._intake.read(item)
                if asks:
                    decode.succeeded()
                if not handled:
                    return self._skip(item)
        except Transient as error:
            decode.failed(error)
            self._unread.append(item)
            return None
        except Poison as error:
            return self._give_up(item, error, attempts=0)
        (self._ready if self._prepare is None else self._prep).append(item)
        return None

    def _skip(self, item: Item) -> Item | None:
        RECORDS.labels(self._name, "skipped").inc()
        item.done = True
        if self._exactly_once:
            self._settled.append(item)
        else:
            item.partition.finish(item)
        return item.partition.advance(item)

    def _wake(self, now: float) -> None:
        """Records whose waiting is over."""
        while self._waiting and self._waiting[0][0] <= now:
            _due, _number, item = heapq.heappop(self._waiting)
            if item.is_head:
                again = self._ready if self._prepare is None or item.settled else self._prep
                again.append(item)
        if self._unread and self._gates["decode"].may_try(now):
            unread = list(self._unread)
            self._unread.clear()
            for item in unread:
                if item.is_head:
                    self._head(item)

    # --- prepare

    def _intend(self, now: float) -> None:
        assert self._prepare is not None
        assert self._calls is not None
        intent, call, outcome = self._gates["intent"], self._gates["call"], self._gates["outcome"]
        if not self._prep or self._stop.is_set() or outcome.single:
            return
        if not (intent.may_try(now) and call.may_try(now)) or (call.single and self._calls.running):
            return
        limit = 1 if intent.single or call.single else self._settings.records_max
        if self._calls.room is not None:
            limit = min(limit, self._calls.room)
        batch: list[Item] = []
        while self._prep and len(batch) < limit:
            item = self._prep.popleft()
            if item.is_head:
                batch.append(item)
        if batch:
            self._intend_batch(batch)

    def _intend_batch(self, batch: list[Item]) -> None:
        assert self._prepare is not None
        try:
            steps = self._prepare.intent([item.received for item in batch])
        except Transient as error:
            self._gates["intent"].failed(error)
            self._prep.extendleft(reversed(batch))
        except _STOP:
            raise
        except Exception as error:  # noqa: BLE001 - the container is the one place that catches broadly
            if len(batch) == 1:
                self._failed_alone(batch[0], error)
            else:
                for item in batch:
                    self._intend_batch([item])
        else:
            self._gates["intent"].succeeded()
            for item, step in zip(batch, steps, strict=True):
                self._step(item, step)

    def _step(self, item: Item, step: Settled | Ask | Unknown) -> None:
        assert self._calls is not None
        if item.partition.gone:
            return
        match step:
            case Settled(outcome):
                item.outcome, item.settled = outcome, True
                if item.is_head:
                    self._ready.append(item)
            case Ask(task):
                if not self._stop.is_set():
                    self._calls.submit(item, task)
            case Unknown(since):
                self._wait_for_outcome(item, since)

    def _wait_for_outcome(self, item: Item, since: datetime) -> None:
        retry = self._listener.retry
        item.first_failure = item.first_failure or since
        if (datetime.now(UTC) - since).total_seconds() > retry.unknown_for_s:
            why = f"its outcome is unknown since {since.isoformat()}; {item.looks} look-ups did not tell"
            self._head(self._give_up(item, UnknownOutcome(why), attempts=item.looks))
            return
        least, most = retry.unknown_back_off_s
        self._wait(item, min(most, least * 2**item.looks))
        item.looks = min(item.looks + 1, 30)

    def _collect(self) -> None:
        """Ended calls: their outcomes are recorded, also those of partitions that are gone."""
        assert self._prepare is not None
        assert self._calls is not None
        call = self._gates["call"]
        for ended in self._calls.collect():
            item, _task, _answer, error = ended
            if error is None:
                call.succeeded()
                self._ended.append(ended)
            elif isinstance(error, Transient):
                call.failed(error)
                if item.is_head:
                    self._prep.appendleft(item)
            elif isinstance(error, _STOP):
                raise error
            elif item.is_head:
                self._failed_alone(item, error)
        if self._ended and self._gates["outcome"].may_try(time.monotonic()):
            ended_now, self._ended = (
                self._ended[: self._settings.records_max],
                self._ended[self._settings.records_max :],
            )
            self._record_outcomes(ended_now)

    def _record_outcomes(self, ended: list[Finished]) -> None:
        assert self._prepare is not None
        try:
            steps = self._prepare.outcome([(item.received, task, answer) for item, task, answer, _error in ended])
        except Transient as error:
            self._gates["outcome"].failed(error)
            self._ended[:0] = ended
        except _STOP:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            if len(ended) > 1:
                for one in ended:
                    self._record_outcomes([one])
            elif ended[0][0].is_head:
                self._failed_alone(ended[0][0], error)
        else:
            self._gates["outcome"].succeeded()
            for (item, _task, _answer, _error), step in zip(ended, steps, strict=True):
                self._step(item, step)

    # --- waves

    def _may_run(self, now: float) -> bool:
        commit = self._gates["commit"]
        return self._gates["handle"].may_try(now) and (not self._exactly_once or commit.may_try(now))

    def _waves(self) -> None:
        began = time.monotonic()
        handled = 0
        while self._ready and handled < self._settings.records_max and self._may_run(time.monotonic()):
            wave = self._next_wave()
            if not wave:
                return
            if not self._run_wave(wave):
                return
            handled += len(wave)
            if time.monotonic() - began > self._settings.turn_s_max:
                return

    def _next_wave(self) -> list[Item]:
        probing = self._gates["handle"].single or (self._exactly_once and self._gates["commit"].single)
        limit = 1 if probing else self._wave_max
        wave: list[Item] = []
        keys: set[bytes] = set()
        later: list[Item] = []
        ready = self._ready
        while ready and len(wave) < limit:
            item = ready.popleft()
            if item.done or not item.is_head:
                continue
            if item.key in keys:
                later.append(item)
            elif item.alone:
                if wave:
                    ready.appendleft(item)
                else:
                    wave.append(item)
                break
            else:
                keys.add(item.key)
                wave.append(item)
        ready.extendleft(reversed(later))
        return wave

    def _run_wave(self, wave: list[Item]) -> bool:
        """False when nothing more should run in this turn."""
        handle = self._gates["handle"]
        try:
            self._handle(wave)
        except Transient as error:
            handle.failed(error)
            self._ready.extendleft(reversed(wave))
            return False
        except _STOP:
            raise
        except Exception as error:  # noqa: BLE001 - the container is the one place that catches broadly
            if handle.resource not in ("", "handler"):
                handle.succeeded()
            return self._failed(wave, error)
        handle.succeeded()
        self._lone_failures = 0
        self._wave_max = min(self._settings.records_max, 2 * self._wave_max)
        return True

    def _handle(self, wave: list[Item]) -> None:
        delivery = self._listener.delivery
        if isinstance(delivery, ExactlyOnce):
            self._outputs += deliveries.exactly_once(delivery, self._publisher, wave)
            self._done += wave
            for item in wave:
                item.done = True
                if self._prepare is None:
                    self._head(item.partition.advance(item))
            return
        assert self._session is not None
        deliveries.inbox_outbox(delivery, self._publisher, wave, listener=self._name, session=self._session)
        RECORDS.labels(self._name, "handled").inc(len(wave))
        for item in wave:
            item.done = True
            item.partition.finish(item)
            self._head(item.partition.advance(item))

    def _failed(self, wave: list[Item], error: Exception) -> bool:
        if len(wave) > 1:
            self._ready.extendleft(reversed(wave))
            self._wave_max = max(1, len(wave) // 2)
            log.info("a wave failed, and is halved", listener=self._name, records=len(wave), why=repr(error))
            return True
        return self._failed_alone(wave[0], error)

    def _failed_alone(self, item: Item, error: Exception) -> bool:
        """Charge an attempt, unless it is the handler that fails whatever it gets."""
        handle = self._gates["handle"]
        self._lone_failures += 1
        if handle.single or self._lone_failures > self._listener.retry.lone_failures_max:
            handle.failed(Transient(f"fails for every record, last for {item.place}: {error!r}", resource="handler"))
            # To the end, so that the next probe is another record.
            (self._ready if self._prepare is None or item.settled else self._prep).append(item)
            return False
        ATTEMPTS.labels(self._name).inc()
        item.attempts += 1
        item.alone = True
        item.first_failure = item.first_failure or datetime.now(UTC)
        back_off_s = self._listener.retry.back_off_s
        if isinstance(error, Poison) or item.attempts > len(back_off_s):
            self._head(self._give_up(item, error, attempts=item.attempts))
            return True
        wait_s = back_off_s[item.attempts - 1]
        log.warning(
            "a record failed, and waits in place",
            listener=self._name,
            record=item.place,
            attempt=item.attempts,
            of=len(back_off_s) + 1,
            next_in_s=wait_s,
            why=repr(error),
        )
        self._wait(item, wait_s)
        return True

    def _wait(self, item: Item, seconds: float) -> None:
        due = time.monotonic() + seconds * _jitter.uniform(1 - JITTER, 1 + JITTER)
        heapq.heappush(self._waiting, (due, next(self._sequence), item))

    def _give_up(self, item: Item, error: Exception, *, attempts: int) -> Item | None:
        """Make it a dead letter, to be committed with its offset; the next record of its key, if there is one."""
        now = datetime.now(UTC)
        message = item.message
        partition = item.partition
        timestamp_type, timestamp_ms = message.timestamp()
        letter = dead_letter.letter(
            dlt=self._dlt[partition.topic],
            topic=partition.topic,
            partition=partition.number,
            offset=item.offset,
            timestamp_ms=timestamp_ms,
            timestamp_type=timestamp_type,
            key=message.key(),
            value=message.value(),
            headers=message.headers(),
            evidence=dead_letter.Evidence(
                exception=error,
                attempts=attempts,
                first_failure=item.first_failure or now,
                last_failure=now,
                group=self._listener.group,
            ),
        )
        log.error("dead letter", listener=self._name, record=item.place, dlt=letter[0], why=repr(error))
        item.done = True
        self._dead.append((item, letter))
        return partition.advance(item)

    # --- commit

    def _end_turn(self) -> None:
        now = time.monotonic()
        self._reach_ends(now)
        self._drop_gone()
        if self._exactly_once:
            if self._done or self._settled or self._dead or self._any_changed():
                self._transact(self._done + self._settled)
        elif self._dead and self._gates["commit"].may_try(now):
            self._transact([])
        elif self._any_changed() and now - self._committed_at >= self._settings.commit_every_s:
            self._commit_plainly(list(self._kafka.partitions.values()))

    def _any_changed(self) -> bool:
        return any(partition.changed for partition in self._kafka.partitions.values())

    def _reach_ends(self, now: float) -> None:
        if now - self._last_record_at < self._settings.idle_after_s:
            return
        for partition in self._kafka.partitions.values():
            if partition.eof > partition.next and all(item is None for item in partition.unfinished.values()):
                partition.reach_eof()

    def _drop_gone(self) -> None:
        if any(item.partition.gone for item in self._settled):
            self._settled = [item for item in self._settled if not item.partition.gone]
        if any(item.partition.gone for item, _letter in self._dead):
            self._dead = [(item, letter) for item, letter in self._dead if not item.partition.gone]

    def _transact(self, done: list[Item]) -> None:
        """Outputs, dead letters and offsets of this turn, in one Kafka transaction."""
        commit = self._gates["commit"]
        began = time.monotonic()
        if not commit.may_try(began):
            self._put_back()
            return
        if not self._kafka.is_member:
            self._put_back()
            commit.failed(Unavailable("not a member of the group at this moment", resource="broker"))
            return
        dead = [item for item, _letter in self._dead]
        windows = self._windows([*done, *dead])
        try:
            self._kafka.transact([*self._outputs, *(letter for _item, letter in self._dead)], windows)
        except TransactionAborted as error:
            log.warning("aborted; its records are put back", listener=self._name, records=len(done), why=str(error))
            self._put_back()
            commit.failed(error)
            return
        except ProducerLost as error:
            self._kafka.renew(error)
            self._forget_all()
            return
        commit.succeeded()
        RECORDS.labels(self._name, "handled").inc(len(self._done))
        RECORDS.labels(self._name, "dead").inc(len(dead))
        handled = self._done
        self._done, self._settled, self._dead, self._outputs = [], [], [], []
        for item in (*done, *dead):
            item.partition.finish(item)
        self._note(windows)
        if self._prepare is not None:
            for item in handled:
                self._head(item.partition.advance(item))
        self._rest(began)

    def _windows(self, done: Sequence[Item]) -> list[tuple[Partition, Window]]:
        touched = {item.partition for item in done}
        touched.update(partition for partition in self._kafka.partitions.values() if partition.changed)
        return [(partition, partition.window()) for partition in touched if partition.next >= 0]

    def _commit_plainly(self, partitions: list[Partition]) -> None:
        began = time.monotonic()
        windows = [
            (partition, partition.window(settled=False))
            for partition in partitions
            if partition.changed and partition.next >= 0
        ]
        if not windows:
            return
        try:
            self._kafka.commit(windows)
        except Unavailable as error:
            self._gates["commit"].failed(error)
            return
        finally:
            self._committed_at = time.monotonic()
        self._gates["commit"].succeeded()
        self._note(windows)
        self._rest(began)

    def _commit_before_revoke(self, leaving: list[Partition]) -> None:
        """What is done but not committed would be repeated by the next owner; the inbox would absorb it."""
        if not self._exactly_once and leaving:
            self._commit_plainly(leaving)

    def _note(self, windows: Sequence[tuple[Partition, Window]]) -> None:
        for partition, window in windows:
            partition.committed = window
            partition.changed = False
        WAITING.labels(self._name).set(sum(len(p.unfinished) for p in self._kafka.partitions.values()))

    def _rest(self, began: float) -> None:
        """The rest after a commit: twice as long as it took, within bounds, so that load grows batches."""
        now = time.monotonic()
        least, most = self._settings.rest_s
        self._rest_until = now + min(most, max(least, 2 * (now - began)))
        TURN_S.labels(self._name).observe(now - began)

    def _put_back(self) -> None:
        """Nothing of this turn happened: its records are first again, in their order, and no attempt is counted."""
        done, self._done, self._outputs = self._done, [], []
        for item in reversed(done):
            if not item.partition.gone:
                item.partition.put_back(item)
                self._ready.appendleft(item)

    def _forget_all(self) -> None:
        """No record is known; what was is read again from what is committed."""
        for queue in (self._ready, self._prep, self._unread):
            queue.clear()
        self._waiting, self._done, self._settled, self._dead, self._outputs = [], [], [], [], []
