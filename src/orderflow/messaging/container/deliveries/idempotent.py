"""
`IdempotentWrite`: the handler makes a wave durable outside Kafka, and the offsets follow. If they
are lost, records come again, and writing them again changes nothing.
"""

from __future__ import annotations

from orderflow.messaging.container.deliveries.after_effect import AfterEffect
from orderflow.messaging.container.deliveries.transaction import TurnTransaction
from orderflow.messaging.container.metrics import RECORDS
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import IdempotentWrite


class IdempotentDelivery(AfterEffect):
    """Gathers what is ready, so that a write is worth its cost; then waves as in any delivery."""

    def __init__(
        self, shared: Shared, delivery: IdempotentWrite, *, transaction: TurnTransaction
    ) -> None:
        super().__init__(shared, transaction)
        self._queues = shared.queues
        self._handle_gate = shared.gates.handle
        self._handler = delivery.handler
        self._gather_records = delivery.gather_records
        self._gather_s = delivery.gather_s
        self._began = False
        self._rested_from = float("-inf")
        self.needs = (shared.gates.handle,)

    @property
    def due_at(self) -> float:
        partitions = self._client.partitions.values()
        # A partition that holds records back brings no more until some are finished.
        is_full = any(partition.held for partition in partitions) or (
            sum(len(partition.unfinished) for partition in partitions) >= self._gather_records
        )
        # What was begun is brought to its end, and what was away is probed when its gate says so.
        if is_full or self._began or self._handle_gate.is_probing:
            return 0.0
        return self._rested_from + self._gather_s

    def handle(self, wave: list[Record]) -> list[Record]:
        self._began = True
        failpoint("listener.before_write")
        self._handler([record.progress.received for record in wave])
        failpoint("listener.after_write")

        RECORDS.labels(self._name, "handled").inc(len(wave))
        self._record_log.add(wave, "handled")
        self._traces.add(wave, "handled")
        for record in wave:
            record.partition.finish(record)
        return wave

    def end_turn(self, now: float) -> list[Record]:
        if self._began and not self._queues.ready:
            self._began, self._rested_from = False, now
        return super().end_turn(now)
