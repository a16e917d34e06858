"""
Decides what follows a failed record: a back-off, a dead letter, or nothing because the handler is
suspected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from orderflow.messaging.container.records.identity import Identities
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.dead_letters import letter as dead_letter
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Contention, OrderflowError, Poison, RecordFault, Transient
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.listener import CloseGate, DeadLetter, Unknown, Wait
from orderflow.messaging.telemetry import counter, logger

HANDLER = "handler"
PROBES_MAX = 20
"""How many records, of different keys, a suspected handler is given before the next back-off."""

ATTEMPTS = counter("listener_failed_attempts", "Records that failed alone.", ("listener",))

CONTENTION = counter(
    "listener_contention",
    "Waves and records that a lock or a time-out of the database put back.",
    ("listener",),
)

log = logger("listener")


class UnknownOutcome(OrderflowError):
    """The outcome stayed unknown for an hour: an operator must find out."""


class LoneFailures:
    """How many records failed alone with no success in between, and of how many keys."""

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._count = 0
        self._keys: set[bytes] = set()

    def add(self, record: Record) -> None:
        self._count += 1
        if len(self._keys) < self._keys_max:
            self._keys.add(record.key)

    def clear(self) -> None:
        self._count = 0
        self._keys.clear()

    @property
    def size(self) -> tuple[int, int]:
        """Failures, and their keys."""
        return self._count, len(self._keys)


class Failures:
    """
    Applies the listener's retry policy, and closes the gate of the handler when it is suspected:
    when it fails for one record after the other, whatever their keys.

    Attempts are in memory: after a restart they count anew.
    """

    def __init__(self, shared: Shared) -> None:
        self._listener = shared.settings.listener
        self._ids = Identities(shared.settings.listener.group)
        self._retry = shared.settings.listener.retry
        ATTEMPTS.labels(self._listener.name)

        self._traces = shared.traces
        self._queues = shared.queues
        self._uncommitted = shared.uncommitted
        self._handle_gate = shared.gates.handle
        self._clock = shared.clock
        self._commit_gate = shared.gates.commit
        self._lone = LoneFailures(self._retry.lone_keys_min)
        # Apart from the handler's: it succeeds each time before its output is refused.
        self._lone_refused = LoneFailures(self._retry.lone_keys_min)
        self._why_suspected = ""
        self._dlt = {
            name: dead_letter_topic(topic, self._listener.group).name
            for name, topic in self._listener.subscribed.items()
        }

    @property
    def suspects(self) -> bool:
        """Whether the handler is suspected of failing for every record."""
        return self._handle_gate.is_probing and self._handle_gate.resource == HANDLER

    def success(self) -> None:
        """The handler has handled something: it is not broken for everything."""
        self._lone.clear()

    def accepted(self) -> None:
        """The broker has accepted what was published for some record."""
        self._lone_refused.clear()

    def back_off(self) -> None:
        """A round of probes found nothing that the handler can handle: wait for longer."""
        if self.suspects:
            self._handle_gate.failed(Transient(self._why_suspected, resource=HANDLER))

    def alone(self, record: Record, error: Exception, queue: deque[Record]) -> bool:
        """
        Decide about a record that failed by itself; true if it is over, because it became a dead
        letter.

        If the handler is suspected, the record goes to the end of `queue`, so that the next probe
        takes another one.
        """
        # A handler that finds a fault in the record works: it is not suspected itself.
        if not isinstance(error, RecordFault):
            self._lone.add(record)
        step = self._retry.next_step(
            error,
            attempts=record.progress.attempts,
            lone=self._lone.size,
            suspected=self.suspects,
        )

        if isinstance(step, CloseGate):
            why = f"it fails for every record, last for {record.place}: {error_text(error)}"
            self._why_suspected = why
            if not self.suspects:
                self._handle_gate.failed(Transient(why, resource=HANDLER))
            queue.append(record)
            return False
        return self._charged(record, error, step)

    def refused(self, record: Record, error: Exception, queue: deque[Record]) -> bool:
        """
        As `alone`, for a record that was handled, and whose output the broker refuses.

        If it refuses one record after the other, it or its settings are to blame, and no attempt is
        charged: the gate of the commit is probed with other records.
        """
        self._lone_refused.add(record)
        step = self._retry.next_step(
            error,
            attempts=record.progress.attempts,
            lone=self._lone_refused.size,
            suspected=False,
        )

        if isinstance(step, CloseGate):
            why = f"it refuses the outputs of every record, last of {record.place}: {error}"
            self._commit_gate.failed(Transient(why, resource="broker"))
            queue.append(record)
            return False
        return self._charged(record, error, step)

    def contended(self, batch: Sequence[Record], error: Contention) -> None:
        """Note a batch that met a lock or took too long. No attempt is charged, however often."""
        CONTENTION.labels(self._listener.name).inc()
        if len(batch) == 1:
            batch[0].progress.contentions += 1
            self._traces.note(batch[0], "lock", {"times": batch[0].progress.contentions})
        log.warning(
            "records meet a lock or take too long: half of them next, and one alone waits in place",
            listener=self._listener.name,
            records=len(batch),
            times=batch[0].progress.contentions,
            **self._ids.about(batch[0]),
            why=str(error),
        )

    def next_try_s(self, record: Record) -> float:
        """Seconds until a record that met a lock alone is tried again."""
        return self._retry.next_contended(record.progress.contentions).seconds

    def unknown(self, record: Record, step: Unknown) -> bool:
        """
        Decide about a record whose outcome is unknown: the next look-up, or, after an hour, a dead
        letter if it may be given up. True if it is over.
        """
        progress, now = record.progress, self._clock.now()
        # The earlier one: what another record writes about the same effect begins no new hour.
        since = min(step.since or now, progress.unknown_since or now)
        progress.unknown_since = since
        progress.first_failure = progress.first_failure or since
        unknown_s = (now - since).total_seconds()

        match self._retry.next_lookup(step, lookups=progress.lookups, unknown_s=unknown_s):
            case DeadLetter(attempts):
                why = f"its outcome is unknown since {since.isoformat()}, after {attempts} look-ups"
                self.give_up(record, UnknownOutcome(why), attempts=attempts)
                return True
            case Wait(seconds):
                self._traces.note(record, "outcome unknown", {"lookups": progress.lookups})
                self._say_each_hour(record, unknown_s)
                self._queues.wait(record, seconds)
                progress.lookups += 1
                return False

    def _say_each_hour(self, record: Record, unknown_s: float) -> None:
        hours = int(unknown_s // self._retry.unknown_for_s)
        if hours > record.progress.hours:
            record.progress.hours = hours
            log.error(
                "the outcome is still unknown, and is not given up",
                listener=self._listener.name,
                **self._ids.about(record),
                since=record.progress.unknown_since,
                lookups=record.progress.lookups,
            )

    def give_up(self, record: Record, error: Exception, *, attempts: int) -> None:
        """
        Make a dead letter of `record`. It is published in the transaction that commits the record's
        offset.
        """
        now = self._clock.now()
        message, partition, progress = record.message, record.partition, record.progress
        timestamp_type, timestamp_ms = message.timestamp()
        letter = dead_letter.letter(
            dlt=self._dlt[partition.topic],
            topic=partition.topic,
            partition=partition.number,
            offset=record.offset,
            timestamp_ms=timestamp_ms,
            timestamp_type=timestamp_type,
            key=message.key(),
            value=message.value(),
            headers=progress.headers,
            evidence=dead_letter.Evidence(
                exception=error,
                attempts=attempts,
                first_failure=progress.first_failure or now,
                last_failure=now,
                group=self._listener.group,
            ),
        )

        log.error(
            "dead letter",
            listener=self._listener.name,
            **self._ids.about(record),
            dlt=letter[0],
            why=error_text(error),
        )
        progress.state = State.HANDLED
        self._uncommitted.dead.append((record, letter))

    def _charged(self, record: Record, error: Exception, step: DeadLetter | Wait) -> bool:
        """Charge an attempt; true if it was the last one."""
        match step:
            case DeadLetter(attempts):
                if not isinstance(error, Poison):
                    self._charge(record, error, attempts)
                self.give_up(record, error, attempts=attempts)
                return True
            case Wait(seconds):
                self._charge(record, error, record.progress.attempts + 1)
                self._wait(record, error, seconds)
                return False

    def _charge(self, record: Record, error: Exception, attempts: int) -> None:
        kind = type(error).__qualname__
        self._traces.note(record, "attempt failed", {"exception.type": kind, "attempt": attempts})
        ATTEMPTS.labels(self._listener.name).inc()
        progress = record.progress
        progress.attempts = attempts
        progress.first_failure = progress.first_failure or self._clock.now()

    def _wait(self, record: Record, error: Exception, seconds: float) -> None:
        log.warning(
            "a record failed, and waits in place",
            listener=self._listener.name,
            **self._ids.about(record),
            attempt=record.progress.attempts,
            of=self._retry.attempts_max,
            next_in_s=seconds,
            why=error_text(error),
        )
        self._queues.wait(record, seconds)
