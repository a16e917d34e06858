"""
`InboxOutbox`: inbox, effect and outbox of a wave commit in one database transaction; the offsets
follow. If they are lost, records come again and the inbox absorbs them.
"""

from __future__ import annotations

from orderflow.messaging.container.deliveries.after_effect import AfterEffect
from orderflow.messaging.container.deliveries.effect_database import EffectDatabase
from orderflow.messaging.container.deliveries.gathering import Gathering
from orderflow.messaging.container.deliveries.transaction import TurnTransaction
from orderflow.messaging.container.metrics import RECORDS
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.publisher import Publisher
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import InboxOutbox
from orderflow.messaging.telemetry import counter

REPEATS = counter(
    "inbox_repeats", "Events that the inbox knew already; they had no effect.", ("listener",)
)


class DatabaseDelivery(AfterEffect):
    """A record is finished as soon as its database transaction is committed."""

    def __init__(
        self,
        shared: Shared,
        delivery: InboxOutbox,
        *,
        publisher: Publisher,
        database: EffectDatabase,
        transaction: TurnTransaction,
    ) -> None:
        super().__init__(shared, transaction)
        self._handler = delivery.handler
        self._publisher = publisher
        self._database = database

        self._gathering = Gathering(
            client=shared.client,
            queues=shared.queues,
            gate=shared.gates.handle,
            records=shared.settings.records_max,
            rest_s=shared.settings.database_rest_s,
        )
        REPEATS.labels(self._name)
        self.needs = (shared.gates.handle,)

    @property
    def due_at(self) -> float:
        return self._gathering.due_at

    def end_turn(self, now: float) -> list[Record]:
        self._gathering.end_turn(now)
        return super().end_turn(now)

    def handle(self, wave: list[Record]) -> list[Record]:
        self._gathering.begin(self._clock.monotonic())
        fresh, repeats = self._commit_effects(wave)
        RECORDS.labels(self._name, "handled").inc(len(wave))
        self._record_log.add(fresh, "handled")
        self._record_log.add(repeats, "repeat")
        self._traces.add(fresh, "handled")
        self._traces.add(repeats, "repeat")
        for record in wave:
            record.partition.finish(record)
        return wave

    def _commit_effects(self, wave: list[Record]) -> tuple[list[Record], list[Record]]:
        """
        Inbox, effect and outbox of the wave, committed when this returns.

        Returns the records that the handler was given, and those whose event ids the inbox contains
        already, or that came twice in the wave.
        """
        by_id = {record.progress.received.attributes.id: record for record in wave}
        with self._database.transaction() as cursor:
            # The inbox and the effect share this transaction: neither can be there without the
            # other.
            unknown = self._database.claim(cursor, self._name, list(by_id))
            # In the wave's order, whatever order the database answered in.
            fresh = [record for event_id, record in by_id.items() if event_id in unknown]
            if fresh:
                caused = self._handler(cursor, [record.progress.received for record in fresh])
                self._database.append(cursor, self._publisher.rows(caused))
            failpoint("listener.before_database_commit")
        failpoint("listener.after_database_commit")

        if len(fresh) == len(wave):
            return fresh, []
        REPEATS.labels(self._name).inc(len(wave) - len(fresh))
        handled = set(fresh)
        return fresh, [record for record in wave if record not in handled]
