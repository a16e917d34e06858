"""
From fetched to queued: which messages are let in, what the head of each key needs, and what follows
a record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orderflow.messaging.container.client.kafka_client import Polled
from orderflow.messaging.container.deliveries.delivery import Delivery
from orderflow.messaging.container.failures import PROBES_MAX, Failures
from orderflow.messaging.container.metrics import PAUSES, RECORDS
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import UNPREPARED, Record, State
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.intake import Intake
from orderflow.messaging.errors import Poison, Transient

PAUSE_AFTER_S = 1.0
REGISTRY_S_MAX = 1.0
"""
How long a turn may ask the registry: a look-up that begins after that waits for the next turn.
Without it, 500 records of schemas not met before could keep the container from polling until the
group gives it up.
"""


class Admission:
    """
    Admits messages as long as their partition's window fits into a commit's metadata; holds back
    the others, in order.

    `prepares`: records go through `Prepare` before they are ready.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        intake: Intake,
        delivery: Delivery,
        failures: Failures,
        prepares: bool,
    ) -> None:
        self._name = shared.settings.listener.name
        self._idle_after_s = shared.settings.idle_after_s
        self._client = shared.client
        self._gates = shared.gates
        self._queues = shared.queues
        self._uncommitted = shared.uncommitted
        self._clock = shared.clock
        self._traces = shared.traces

        self._intake = intake
        self._delivery = delivery
        self._failures = failures
        self._prepares = prepares
        self._last_message_at = 0.0
        self._registry_s = 0.0

    def begin_turn(self) -> None:
        """The registry may be asked again."""
        self._registry_s = 0.0

    def admit(self, polled: Polled) -> None:
        """Admit fetched messages; hold back those that do not fit, and pause their partitions."""
        if polled.messages:
            self.note_messages()
        for partition, end in polled.ends:
            partition.eof = end
        self.admit_messages(polled.messages)

    def note_messages(self) -> None:
        """Something was fetched just now."""
        self._last_message_at = self._clock.monotonic()

    def admit_messages(self, messages: Iterable[Any]) -> None:
        """Admit these, as `admit` does."""
        partitions = self._client.partitions
        for message in messages:
            partition = partitions[message.topic(), message.partition()]
            # Once one message is held, all later ones are: they must be admitted in the order of
            # their offsets.
            if partition.held or not partition.may_admit(message.offset()):
                partition.held.append(message)
                if not partition.paused:
                    PAUSES.labels(self._name).inc()
                    self._client.pause([partition])
            else:
                self._admit(partition, message)

    def refill(self) -> None:
        """
        Admit what was held back; fetch where there is room, and pause everything while a resource
        is away.
        """
        # A registry that is away stops only schemas not met before; letters that can't be written
        # stop nothing else, nor do tables that can't be restored. So these gates pause nothing. A
        # suspected handler needs records that it may be able to handle.
        passing = [self._gates.decode, self._gates.dead_letters, self._gates.restore]
        if self._failures.suspects:
            passing.append(self._gates.handle)
        # The resource may be away for one record alone: the next probes need others.
        returned, self._uncommitted.returned = self._uncommitted.returned, []
        self.admit_messages(returned)
        queues = self._queues
        if len(queues.to_prepare) + len(queues.ready) < PROBES_MAX:
            passing += (self._gates.handle, self._gates.intent, self._gates.call)
        # A pause throws away what the client has fetched ahead. For what is away for a moment only
        # that is not worth it: the window bounds what comes in meanwhile.
        moment = self._clock.monotonic() - PAUSE_AFTER_S
        away = any(gate.is_closed_since(moment) for gate in self._gates if gate not in passing)
        for partition in list(self._client.partitions.values()):
            held = partition.held
            while held and partition.may_admit(held[0].offset()):
                self._admit(partition, held.popleft())

            if away or held:
                self._client.pause([partition])
            elif partition.paused and partition.may_resume():
                self._client.resume([partition])

    def wake(self, now: float) -> None:
        """
        Queue the records whose wait is over; read unread ones if the registry may be asked again.
        """
        for record in self._queues.due(now):
            self._queue(record)

        if self._queues.unread and self._gates.decode.may_try(now):
            unread = list(self._queues.unread)
            self._queues.unread.clear()
            for record in unread:
                # A record can be listed twice, if an aborted turn brought it up again. It must not
                # be queued again once it is read: it may be over, and waits for the commit.
                if record.is_head and record.progress.state is State.UNREAD:
                    self._read_head(record)

    def release(self, ended: Iterable[Record]) -> None:
        """These records are over: the next record of each key comes up."""
        for record in ended:
            self._read_head(record.partition.advance(record))

    def reach_ends(self, now: float) -> None:
        """
        After an idle second, count the markers behind the last record as finished: then idle lag
        reads 0.
        """
        if now - self._last_message_at < self._idle_after_s:
            return
        for partition in self._client.partitions.values():
            # An empty partition needs no commit: a reader begins at 0 anyway.
            if partition.eof > max(partition.next, 0) and partition.waits_for_nothing:
                partition.reach_eof()

    def _admit(self, partition: Partition, message: Any) -> None:
        record = partition.admit(message)
        if record is not None and record.lane[0] is record:
            self._read_head(record)

    def _read_head(self, head: Record | None) -> None:
        """
        Read the record at the head of a key's lane and queue it. If that ends the record (nothing
        handles it, or it is poison), continue with the next of its key, until one is queued or the
        lane is empty.
        """
        while head is not None and self._ended_by_reading(head):
            head = head.partition.advance(head)

    def _ended_by_reading(self, record: Record) -> bool:
        if record.progress.state is not State.UNREAD:
            self._queue(record)
            return False

        decode, asks = self._gates.decode, self._intake.needs_registry(record)
        began = self._clock.monotonic() if asks else 0.0
        if asks and not (self._registry_s < REGISTRY_S_MAX and decode.may_try(began)):
            self._queues.unread.append(record)
            return False

        try:
            handled = self._intake.read(record)
        except Transient as error:
            decode.failed(error)
            self._queues.unread.append(record)
            return False
        except Poison as error:
            self._failures.give_up(record, error, attempts=0)
            return True
        finally:
            if asks:
                self._registry_s += self._clock.monotonic() - began

        if asks:
            decode.succeeded()
        if handled:
            self._traces.begin(record)
            self._queue(record)
        else:
            RECORDS.labels(self._name, "skipped").inc()
            self._delivery.skip(record)
        return not handled

    def _queue(self, record: Record) -> None:
        progress = record.progress
        if self._prepares and progress.outcome is UNPREPARED:
            progress.state = State.TO_PREPARE
            self._queues.to_prepare.append(record)
        else:
            progress.state = State.READY
            self._queues.ready.append(record)
