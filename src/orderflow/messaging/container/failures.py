"""What is done about a record that failed: an attempt and a back-off, a dead letter, or nothing because all fail."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from orderflow.messaging.container.partition import Item
from orderflow.messaging.container.queues import Queues
from orderflow.messaging.dead_letters import letter as dead_letter
from orderflow.messaging.errors import OrderflowError, Poison, Transient
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.listener import Listener
from orderflow.messaging.telemetry import counter, logger
from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.gate import Gate

HANDLER = "handler"

ATTEMPTS = counter("listener_failed_attempts", "Records that failed alone.", ("listener",))

log = logger("listener")


class UnknownOutcome(OrderflowError):
    """For an hour nobody could say how it ended: an operator must."""


class Failures:
    """
    Judges failures of one listener. `handle` is the gate that closes when the handler fails whatever it gets.

    Attempts are in memory: a restart counts anew.
    """

    def __init__(self, listener: Listener, *, queues: Queues, handle: Gate, clock: Clock) -> None:
        self._clock = clock
        self._listener = listener
        self._queues = queues
        self._handle = handle
        self._lone_in_a_row = 0
        self._dlt = {
            name: dead_letter_topic(topic, listener.group).name
            for name, topic in listener.subscribed.items()
        }

    def success(self) -> None:
        self._lone_in_a_row = 0

    def alone(self, item: Item, error: Exception, queue: deque[Item]) -> bool:
        """
        Charge an attempt: the record waits, or is given up. True if it was given up; what is poison is, at once.

        Not if 20 failed alone with no success in between: then the gate closes, and the record goes to the end of
        `queue`, so that the next probe is another one.
        """
        if isinstance(error, Poison):
            self.give_up(item, error, attempts=item.attempts + 1)
            return True
        self._lone_in_a_row += 1
        if self._handle.single or self._lone_in_a_row > self._listener.retry.lone_failures_max:
            why = f"it fails for every record, last for {item.place}: {error!r}"
            self._handle.failed(Transient(why, resource=HANDLER))
            queue.append(item)
            return False
        ATTEMPTS.labels(self._listener.name).inc()
        item.attempts += 1
        item.alone = True
        item.first_failure = item.first_failure or self._clock.now()
        back_off_s = self._listener.retry.back_off_s
        if item.attempts > len(back_off_s):
            self.give_up(item, error, attempts=item.attempts)
            return True
        wait_s = back_off_s[item.attempts - 1]
        log.warning(
            "a record failed, and waits in place",
            listener=self._listener.name,
            record=item.place,
            attempt=item.attempts,
            of=self._listener.retry.attempts_max,
            next_in_s=wait_s,
            why=repr(error),
        )
        self._queues.wait(item, wait_s)
        return False

    def unknown(self, item: Item, since: datetime) -> bool:
        """Nobody knows how it ended: the record waits for the next look-up, or is given up. True if it was given up."""
        retry = self._listener.retry
        item.first_failure = item.first_failure or since
        if (self._clock.now() - since).total_seconds() > retry.unknown_for_s:
            why = f"its outcome is unknown since {since.isoformat()}; {item.looks} look-ups did not tell"
            self.give_up(item, UnknownOutcome(why), attempts=item.looks)
            return True
        least, most = retry.unknown_back_off_s
        self._queues.wait(item, min(most, least * 2 ** min(item.looks, 30)))
        item.looks += 1
        return False

    def give_up(self, item: Item, error: Exception, *, attempts: int) -> None:
        """Make it a dead letter, to be committed together with its offset."""
        now = self._clock.now()
        message, partition = item.message, item.partition
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
            headers=item.headers,
            evidence=dead_letter.Evidence(
                exception=error,
                attempts=attempts,
                first_failure=item.first_failure or now,
                last_failure=now,
                group=self._listener.group,
            ),
        )
        log.error(
            "dead letter",
            listener=self._listener.name,
            record=item.place,
            dlt=letter[0],
            why=repr(error),
        )
        item.done = True
        self._queues.dead.append((item, letter))
