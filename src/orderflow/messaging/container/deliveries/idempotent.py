"""
`IdempotentWrite`: the handler makes a wave durable outside Kafka, and the offsets follow. If they
are lost, records come again, and writing them again changes nothing.
"""

from __future__ import annotations

from orderflow.messaging.container.deliveries.after_effect import AfterEffect
from orderflow.messaging.container.deliveries.gathering import Gathering
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
        self._handler = delivery.handler
        self._gathering = Gathering(
            client=shared.client,
            queues=shared.queues,
            gate=shared.gates.handle,
            records=delivery.gather_records,
            rest_s=lambda _took_s: delivery.gather_s,
        )
        self.needs = (shared.gates.handle,)

    @property
    def due_at(self) -> float:
        return self._gathering.due_at

    def handle(self, wave: list[Record]) -> list[Record]:
        self._gathering.begin(self._clock.monotonic())
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
        self._gathering.end_turn(now)
        return super().end_turn(now)
