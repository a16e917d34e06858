"""
From fetched to queued: which records are let in, what the first of each key needs, and who is next when one is over.
"""

from __future__ import annotations

from typing import Any

from orderflow.messaging.container.failures import Failures
from orderflow.messaging.container.intake import Intake
from orderflow.messaging.container.kafka_client import KafkaClient
from orderflow.messaging.container.metrics import PAUSES, RECORDS
from orderflow.messaging.container.partition import Item, Partition
from orderflow.messaging.container.queues import Queues
from orderflow.messaging.container.record_log import RecordLog
from orderflow.messaging.errors import Poison, Transient
from orderflow.messaging.listener import Listener
from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.gate import Gate


class Admission:
    """Holds back what would not fit into a commit's metadata; queues the rest by what it needs."""

    def __init__(
        self,
        listener: Listener,
        *,
        kafka: KafkaClient,
        intake: Intake,
        gates: dict[str, Gate],
        queues: Queues,
        clock: Clock,
        failures: Failures,
        record_log: RecordLog,
    ) -> None:
        self._clock = clock
        self._name = listener.name
        self._exactly_once = listener.is_exactly_once
        self._prepares = listener.prepares
        self._kafka = kafka
        self._intake = intake
        self._gates = gates
        self._queues = queues
        self._failures = failures
        self._record_log = record_log

    def admit(self, partition: Partition, message: Any) -> None:
        if partition.held or not partition.may_admit(message.offset()):
            partition.held.append(message)
            if not partition.paused:
                PAUSES.labels(self._name).inc()
                self._kafka.pause([partition])
            return
        item = partition.admit(message)
        if item is not None and item.lane[0] is item:
            self._head(item)

    def refill(self) -> None:
        """Admit what was held back, and fetch again where there is room and nothing is away."""
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

    def wake(self, now: float) -> None:
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

    def hand_on(self, item: Item) -> None:
        """`item` is over: the next of its key comes up."""
        self._head(item.partition.advance(item))

    def _judge(self, item: Item) -> Item | None:
        """Queue `item` for what it needs; the next of its key, if this one is over."""
        decode = self._gates["decode"]
        try:
            if item.received is None:
                asks = decode.single and self._intake.needs_registry(item)
                if asks and not decode.may_try(self._clock.monotonic()):
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
        (queues.ready if not self._prepares or item.settled else queues.prep).append(item)

    def _skip(self, item: Item) -> Item | None:
        RECORDS.labels(self._name, "skipped").inc()
        item.done = True
        if self._exactly_once:
            self._queues.skipped.append(item)
        else:
            item.partition.finish(item)
            self._record_log.over((item,), "skipped")
        return item.partition.advance(item)
