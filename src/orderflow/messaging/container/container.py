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
from contextlib import ExitStack, closing
from datetime import timedelta

from orderflow.messaging.container.admission import Admission
from orderflow.messaging.container.client import Client
from orderflow.messaging.container.commits import Commits
from orderflow.messaging.container.database import EffectDatabase, PostgresEffects
from orderflow.messaging.container.failures import Failures
from orderflow.messaging.container.intake import Intake
from orderflow.messaging.container.kafka_client import Connect, KafkaClient
from orderflow.messaging.container.partition import Item, Partition
from orderflow.messaging.container.preparing import Preparing
from orderflow.messaging.container.publishing import Publisher
from orderflow.messaging.container.queues import Queues
from orderflow.messaging.container.record_log import RecordLog
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.container.waves import Waves
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Refused, Transient
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import InboxOutbox
from orderflow.messaging.postgres import Session, inbox
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry, SchemaLookup
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.calls import Calls
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.gate import Gate

CALLS_POLL_S = 0.005
START_AGAIN_S = 0.5
INBOX_MARGIN = timedelta(days=5)

log = logger("listener")


class Stopped(OrderflowError):
    """Asked to stop while something was under way."""


class Container:
    """
    One worker of a listener. `run` it on a thread of its own; `reasons` may be asked from anywhere.

    Guarantee: see `listener`. Everything that time heals is waited for without bound, and told by `reasons`.
    """

    def __init__(
        self,
        settings: ContainerSettings,
        *,
        connect: Connect = Client,
        registry: SchemaLookup | None = None,
        database: EffectDatabase | None = None,
        calls: type[Calls[Item]] = Calls,
        clock: Clock = CLOCK,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._listener = listener = settings.listener
        self._name = listener.name
        self._stop = threading.Event()
        self._stop_seen_at: float | None = None
        self._missing = ["starting"]
        self._client: KafkaClient | None = None
        self._closing = ExitStack()
        self._registry = registry or self._closing.enter_context(
            closing(Registry(settings.registry))
        )
        self._database = database
        self._preparing: Preparing | None = None
        self._gates = {
            stage: Gate(self._name, stage, clock=clock)
            for stage in ("decode", "handle", "intent", "call", "outcome", "commit")
        }
        self._queues = Queues(clock)
        self._failures = Failures(
            listener, queues=self._queues, handle=self._gates["handle"], clock=clock
        )
        self._record_log = RecordLog(listener, wanted=settings.log_records)
        self._fresh = 0
        if isinstance(listener.delivery, InboxOutbox):
            if database is None:
                if settings.database is None:
                    raise ConfigurationError(f"listener {self._name}: InboxOutbox needs a database")
                session = Session(settings.database, application_name=f"{self._name}-listener")
                self._closing.callback(session.close)
                self._database = PostgresEffects(session)
            self._refuse_short_inbox()
        elif listener.delivery.prepare is not None:
            self._preparing = Preparing(
                listener.delivery.prepare,
                calls=calls(listener.delivery.prepare.call, listener.delivery.calls_max),
                records_max=settings.records_max,
                gates=self._gates,
                queues=self._queues,
                clock=clock,
                failures=self._failures,
                hand_on=self._hand_on,
            )

    def run(self, stop: threading.Event) -> None:
        """
        Listen until `stop` is set: then no new calls, at most 5 s for running ones, one last commit, and leave.

        Raises Fenced when another process runs in this slot, Refused or ConfigurationError when going on would be
        wrong, Unavailable when the group's state can't be read for 40 s: then the process starts again.
        """
        self._stop = stop
        try:
            self.start()
            while not stop.is_set():
                self.turn()
            self.last_turn()
        except Stopped:
            log.info("stopped while waiting", listener=self._name)
        finally:
            self._missing = ["stopped"]
            self.close()

    def reasons(self) -> list[str]:
        """What is in the way, for readiness; nothing if all is well."""
        told = [*self._missing, *(gate.reason for gate in self._gates.values() if gate.reason)]
        if self._client is not None and self._client.broker_error:
            told.append(f"broker: {self._client.broker_error}")
        return [f"listener {self._name}: {why}" for why in told]

    def start(self) -> None:
        """Load the schemas of what is published, then join the group; waits for registry and brokers."""
        settings, clock = self._settings, self._clock
        encoder = self._load_encoder(self._registry)
        self._missing = ["broker: joining"]
        self._client = self._kafka = self._connect(settings, between=self._between)
        self._admission = Admission(
            self._listener,
            kafka=self._kafka,
            intake=Intake(self._listener, Decoder(self._registry)),
            gates=self._gates,
            queues=self._queues,
            clock=clock,
            failures=self._failures,
            record_log=self._record_log,
        )
        self._waves = Waves(
            settings,
            publisher=Publisher(self._listener, encoder),
            database=self._database,
            gates=self._gates,
            queues=self._queues,
            clock=clock,
            failures=self._failures,
            record_log=self._record_log,
            hand_on=self._hand_on,
        )
        self._commits = Commits(
            settings,
            kafka=self._kafka,
            gates=self._gates,
            queues=self._queues,
            clock=clock,
            record_log=self._record_log,
            hand_on=self._hand_on,
        )
        self._kafka.open(self._before_revoke)

    def _hand_on(self, item: Item) -> None:
        self._admission.hand_on(item)

    def _before_revoke(self, leaving: list[Partition]) -> None:
        self._commits.before_revoke(leaving)

    def _load_encoder(self, registry: SchemaLookup) -> Encoder:
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
            now = self._clock.monotonic()
            self._stop_seen_at = self._stop_seen_at or now
            if now - self._stop_seen_at > self._settings.stop_within_s:
                raise Stopped("stopped inside a transaction")

    def last_turn(self) -> None:
        """What runs may end, what is ready may commit; the rest is in the offsets' metadata."""
        deadline = self._clock.monotonic() + self._settings.stop_within_s
        if self._preparing is not None:
            self._preparing.stop()
            while self._preparing.calls.running and self._clock.monotonic() < deadline:
                self._preparing.collect(within_s=CALLS_POLL_S)
            self._preparing.collect()
        self._waves.run()
        self._commits.last(deadline)

    def close(self) -> None:
        """Leave the group and close every connection. What is not committed is read again by whoever comes next."""
        self._record_log.write()
        if self._preparing is not None:
            self._preparing.calls.close()
        if self._client is not None:
            self._client.close()
        self._closing.close()

    def turn(self) -> None:
        """Poll, admit, prepare, handle, commit, once."""
        self._work()
        self._record_log.write()
        if self._missing and self._kafka.is_member:
            self._missing = []
            log.info(
                "listening",
                listener=self._name,
                group=self._listener.group,
                slot=self._settings.slot,
            )

    def _work(self) -> None:
        messages = self._kafka.poll(self._poll_timeout(), self._settings.records_max)
        if messages:
            self._commits.last_record_at = self._clock.monotonic()
            self._fresh += len(messages)
            partitions = self._kafka.partitions
            for message in messages:
                self._admission.admit(partitions[message.topic(), message.partition()], message)
            failpoint("listener.after_poll")
        if self._kafka.committing:
            self._commits.collect()
        now = self._clock.monotonic()
        self._admission.wake(now)
        if self._preparing is not None:
            self._preparing.step(now)
        if now < self._commits.rest_until and not self._much and not self._stop.is_set():
            return
        self._fresh = 0
        self._waves.run()
        self._commits.end_turn()
        self._open_idle_gates()
        self._admission.refill()

    @property
    def _much(self) -> bool:
        """Is there so much that the rest is cut short?"""
        return (
            self._fresh >= self._settings.records_max
            or len(self._queues.ready) >= self._settings.records_max
        )

    def _poll_timeout(self) -> float:
        now, queues = self._clock.monotonic(), self._queues
        if queues.ready and self._waves.may_run(now):
            return 0.0 if self._much else max(0.0, self._commits.rest_until - now)
        tries = [gate.next_try_at - now for gate in self._gates.values() if gate.single]
        if self._preparing is not None:
            if self._preparing.calls.running:
                tries.append(CALLS_POLL_S)
            elif queues.prep and not tries:
                return 0.0
        if queues.skipped or queues.dead:
            tries.append(self._commits.rest_until - now)
        if queues.next_due is not None:
            tries.append(queues.next_due - now)
        if self._commits.any_changed():
            tries.append(self._settings.commit_every_s)
        return max(0.001, min([self._settings.idle_after_s, *tries]))

    def _open_idle_gates(self) -> None:
        """A closed stage with nothing left to probe with (its partitions went) must try with what comes next."""
        now, queues = self._clock.monotonic(), self._queues
        calling = bool(queues.prep) or (
            self._preparing is not None and self._preparing.calls.running > 0
        )
        to_commit = (
            queues.dead or queues.skipped or self._commits.any_changed() or self._kafka.committing
        )
        to_do = {
            "decode": queues.unread,
            "handle": queues.ready,
            "intent": calling,
            "call": calling,
            "outcome": queues.ended,
            "commit": to_commit or (self._listener.is_exactly_once and queues.ready),
        }
        for stage, gate in self._gates.items():
            if gate.single and gate.may_try(now) and not to_do[stage]:
                gate.succeeded()
