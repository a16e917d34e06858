"""
The listener container: it runs the loop, and does what is to be done about everything that can go
wrong in it.

| what failed | what happens |
|---|---|
| the record can't be read, or does not belong on its topic | dead letter, at once |
| a resource (registry, database, provider, broker) is away | one probe per back-off; no attempt |
| a wave | it is put back and halved, until the record that fails alone is found |
| a record, alone | an attempt; back-off; after the last one a dead letter |
| a wave meets a lock or takes too long | halved too; a record alone waits in place; no attempt |
| 20 records of 5 keys, alone, no success in between | the handler is suspected: it is probed |
| the transaction was aborted | its records go back to the heads of their lanes; nothing is sought |
| its outcome is unknown | all state is dropped; new producer; again from `committed()` |
| the consumer is fenced by its own lost join | a new consumer; again from `committed()` |
| another process runs in this slot | Fenced: this one ends |
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing

from orderflow.messaging.container.client.broker_client import BrokerClient
from orderflow.messaging.container.client.kafka_client import Connect
from orderflow.messaging.container.deliveries.effect_database import EffectDatabase, PostgresEffects
from orderflow.messaging.container.deliveries.stateful import StateParts
from orderflow.messaging.container.loop import Loop
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.container.stages.gates import Gates
from orderflow.messaging.errors import (
    ConfigurationError,
    OrderflowError,
    Refused,
    Stopped,
    Transient,
    plain,
)
from orderflow.messaging.kafka.record_life import MARGIN
from orderflow.messaging.kafka.topics import SEGMENT
from orderflow.messaging.listener import InboxOutbox, Stateful
from orderflow.messaging.postgres import BY_KEY, Session, inbox
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry, SchemaLookup
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.calls import MakeCalls, calls_of
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.reasons import Degraded

START_AGAIN_S = 0.5
INBOX_MARGIN = SEGMENT + MARGIN
"""A segment lives on after its last record's retention, and brokers look for it at intervals."""

log = logger("listener")


class Container:
    """
    One worker of a listener. Call `run` on a thread of its own; `reasons` may be called from any
    thread.

    Guarantee: see `listener`. Everything that time heals is waited for without bound, and `reasons`
    says for what.

    `connect`, `registry`, `database`, `state`, `calls` and `clock` are the real ones unless a test
    or a benchmark passes others; who passes a registry or a database closes it.
    """

    def __init__(
        self,
        settings: ContainerSettings,
        *,
        connect: Connect = BrokerClient,
        registry: SchemaLookup | None = None,
        database: EffectDatabase | None = None,
        state: StateParts | None = None,
        calls: MakeCalls = calls_of,
        clock: Clock = CLOCK,
    ) -> None:
        self._settings = settings
        self._name = settings.listener.name
        self._connect = connect
        self._calls = calls
        self._clock = clock

        self._stop = threading.Event()
        self._stop_seen_at: float | None = None
        self._missing = ["starting"]
        self._has_listened = False
        self._gates = Gates.of(self._name, clock)

        self._closing = ExitStack()
        self._registry = registry or self._closing.enter_context(
            closing(Registry(settings.registry))
        )
        self._database = database
        if isinstance(settings.listener.delivery, InboxOutbox):
            _refuse_short_inbox(settings)
            self._database = database or self._postgres()
        self._state = state
        if isinstance(settings.listener.delivery, Stateful) and state is None:
            raise ConfigurationError(f"listener {self._name}: Stateful needs state stores")
        self._loop: Loop | None = None

    def run(self, stop: threading.Event) -> None:
        """
        Listen until `stop` is set: then no new calls, at most 5 s for running ones, one last
        commit, and leave.

        Raises Fenced when another process runs in this slot, Refused or ConfigurationError when
        going on would be wrong, Unavailable when the group's state can't be read for 40 s: then
        start the process again.
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

    def start(self) -> None:
        """
        Load the schemas of what is published, then join the group. Waits for registry and brokers.
        """
        encoder = self._load_encoder()

        self._missing = ["broker: joining"]
        self._loop = Loop(
            self._settings,
            client=self._connect(self._settings, between=self._refuse_long_stop),
            encoder=encoder,
            decoder=Decoder(self._registry, clock=self._clock),
            resource=self._database or self._state,
            calls=self._calls,
            gates=self._gates,
            clock=self._clock,
        )
        self._loop.open()

    def turn(self) -> None:
        """
        Poll, admit, prepare, handle, commit, once. `run` does so again and again; a test calls it
        itself.
        """
        loop = self._started()
        loop.turn()

        # In every turn: a coordinator that falls silent ends the membership, and no call says so.
        if not loop.is_member:
            self._missing = ["broker: joining"]
        elif self._missing:
            self._missing, self._has_listened = [], True
            log.info(
                "listening",
                listener=self._name,
                group=self._settings.listener.group,
                slot=self._settings.slot,
            )

    def last_turn(self) -> None:
        """
        Let running calls end, handle and commit what is ready; the rest stays in the offsets'
        metadata.
        """
        self._started().last_turn()

    def close(self) -> None:
        """Leave the group and close every connection. What is not committed will be read again."""
        if self._loop is not None:
            self._loop.turning.rest()
            self._loop.close()
        self._closing.close()

    def reasons(self) -> list[str]:
        """
        Why the listener is not ready, one sentence each; empty if it is.

        One that has listened, and now waits for brokers that are away, is only degraded.
        """
        loop, broker_is_away = self._loop, False
        reasons = [*self._missing, *(gate.reason for gate in self._gates if gate.reason)]
        if loop is not None:
            broker_is_away = bool(loop.broker_error)
            if broker_is_away:
                reasons.append("broker: does not answer")
            reasons += loop.reasons()

        is_degraded = broker_is_away and self._has_listened
        named = [
            self._named(reason, Degraded if is_degraded and reason.startswith("broker:") else str)
            for reason in reasons
        ]
        return named if loop is None else [*named, *loop.turning.reasons()]

    def _named(self, reason: str, kind: type[str]) -> str:
        return kind(f"listener {self._name}: {reason}")

    def _started(self) -> Loop:
        if self._loop is None:
            raise OrderflowError("call `start` before the first turn")
        return self._loop

    def _postgres(self) -> EffectDatabase:
        if self._settings.database is None:
            raise ConfigurationError(f"listener {self._name}: InboxOutbox needs a database")
        session = Session(
            self._settings.database, application_name=f"{self._name}-listener", session=BY_KEY
        )
        self._closing.callback(session.close)
        return PostgresEffects(session)

    def _load_encoder(self) -> Encoder:
        topics = [topic.name for topic in self._settings.listener.publishes]
        while True:
            try:
                return Encoder.load(self._registry, self._settings.catalogue, topics)
            except (Transient, ConfigurationError) as error:
                # A schema that is not registered can be registered by a deploy step that is still
                # to come.
                self._say_missing(error)
            if self._stop.wait(START_AGAIN_S):
                raise Stopped("stopped before it began")

    def _say_missing(self, error: Transient | ConfigurationError) -> None:
        is_transient = isinstance(error, Transient)
        missing = [plain(error) if is_transient else "registry: a schema is not registered"]
        if missing != self._missing:
            log.warning("schemas are missing", listener=self._name, why=str(error))
        self._missing = missing

    def _refuse_long_stop(self) -> None:
        """
        Called between slices of every wait on a broker: after a stop, an open transaction gets some
        seconds to end.
        """
        # A wait in slices is no standstill: what it waits for is a reason of its own.
        if self._loop is not None:
            self._loop.turning.mark("wait for the broker")
        if self._stop.is_set():
            now = self._clock.monotonic()
            self._stop_seen_at = self._stop_seen_at or now
            if now - self._stop_seen_at > self._settings.stop_within_s:
                raise Stopped("stopped inside a transaction")


def _refuse_short_inbox(settings: ContainerSettings) -> None:
    """
    Raise Refused if a topic keeps records for longer than the inbox remembers having had them.
    """
    for topic in settings.listener.topics:
        if topic.retention is None or topic.retention + INBOX_MARGIN > inbox.RETENTION:
            raise Refused(
                f"listener {settings.listener.name}: the inbox keeps {inbox.RETENTION.days} days, "
                f"but {topic.name} may repeat a record after that; keep the topic shorter or the "
                "inbox longer"
            )
