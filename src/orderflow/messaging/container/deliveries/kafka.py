"""
`ExactlyOnce`: what the handler returns and the offsets of its records commit in one Kafka
transaction.
"""

from __future__ import annotations

from orderflow.messaging.container.deliveries.delivery import WithoutState
from orderflow.messaging.container.deliveries.transaction import TurnTransaction
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.publisher import Publisher
from orderflow.messaging.listener import ExactlyOnce, Prepared


class KafkaDelivery(WithoutState):
    """
    The handler only computes, so it runs before the transaction begins, and again if the
    transaction is aborted.
    """

    def __init__(
        self,
        shared: Shared,
        delivery: ExactlyOnce,
        *,
        publisher: Publisher,
        transaction: TurnTransaction,
    ) -> None:
        self._handler = delivery.handler
        self._prepares = delivery.prepare is not None
        self._publisher = publisher
        self._transaction = transaction
        self._uncommitted = shared.uncommitted
        # What can't be committed should not be computed: it would be put back and computed again.
        self.needs = (shared.gates.handle, shared.gates.commit)

    def handle(self, wave: list[Record]) -> list[Record]:
        batch = (
            [Prepared(record.progress.received, record.progress.outcome) for record in wave]
            if self._prepares
            else [record.progress.received for record in wave]
        )

        self._uncommitted.outputs += self._publisher.records(self._handler(batch))
        self._uncommitted.handled += wave
        for record in wave:
            record.progress.state = State.HANDLED

        # The next record of a key may be computed at once: if the transaction is aborted, both are
        # undone. Not so with `Prepare`: the next record's effect outside could not be undone, so it
        # waits until this one is committed.
        return [] if self._prepares else wave

    def skip(self, record: Record) -> None:
        # Not finished on the spot: its offset, like all offsets of this group, is only committed
        # by a transaction, see `end_turn`.
        record.progress.state = State.HANDLED
        self._uncommitted.skipped.append(record)

    def end_turn(self, _now: float) -> list[Record]:
        return self._commit()

    def before_revoke(self, leaving: list[Partition]) -> None:
        """
        Nothing: `poll`, which revokes, is only called when everything is committed or put back.
        """

    def last(self, _deadline: float) -> None:
        self._commit()

    def _commit(self) -> list[Record]:
        """Run the turn's transaction, if there is anything to commit."""
        self._uncommitted.drop_gone()
        # Skipped records and markers transact too: a plain commit beside a transactional producer
        # could land after a newer transaction, and take the group's offset back.
        if not self._transaction.is_needed:
            return []
        ended = self._transaction.run()
        return [*ended.committed, *ended.dead] if self._prepares else [*ended.dead]
