"""
What follows a durable effect outside Kafka: its records' offsets.

They are committed plainly, without a transaction and without waiting, at most every 200 ms: if they
are lost, records come again, and the delivery absorbs them. Only dead letters need a Kafka
transaction, so that none is lost or doubled.
"""

from __future__ import annotations

from collections.abc import Iterable

from orderflow.messaging.container.deliveries.delivery import WithoutState
from orderflow.messaging.container.deliveries.transaction import TurnTransaction
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.finished_offsets import Window

LAST_POLL_S = 0.5


class AfterEffect(WithoutState):
    """The part of such a delivery that commits. A record is finished once its effect is durable."""

    def __init__(self, shared: Shared, transaction: TurnTransaction) -> None:
        self._name = shared.settings.listener.name
        self._commit_every_s = shared.settings.commit_every_s
        self._client = shared.client
        self._uncommitted = shared.uncommitted
        self._commit_gate = shared.gates.commit
        self._record_log = shared.record_log
        self._traces = shared.traces
        self._clock = shared.clock
        self._transaction = transaction
        self._committed_at = 0.0

    def skip(self, record: Record) -> None:
        record.partition.finish(record)
        self._record_log.add((record,), "skipped")

    def end_turn(self, now: float) -> list[Record]:
        self._uncommitted.drop_gone()
        self._collect()

        # A plain commit that is still on its way could land after the transaction and take its
        # offsets back.
        if self._client.committing or not self._commit_gate.may_try(now):
            return []
        if self._uncommitted or self._transaction.letters_are_due:
            self._transaction.run()
        elif self._transaction.any_changed and now - self._committed_at >= self._commit_every_s:
            self._commit(now)
        return []

    def before_revoke(self, leaving: list[Partition]) -> None:
        """Commit what is finished: the next owner would only find it in the inbox."""
        self._client.commit_now(_windows(leaving))

    def last(self, deadline: float) -> None:
        # The answer to a plain commit comes with a poll, which must bring nothing else: whatever is
        # fetched now is handled by nobody.
        if self._client.committing:
            self._client.pause(self._client.partitions.values())
        while self._client.committing and self._clock.monotonic() < deadline:
            self._client.poll(LAST_POLL_S, 1)
            self._collect()

        if self._uncommitted:
            self.end_turn(self._clock.monotonic())
        else:
            self._client.commit_now(_windows(self._client.partitions.values()))

    def _commit(self, now: float) -> None:
        """Begin a plain commit of everything that is finished."""
        windows = _windows(self._client.partitions.values())
        if windows:
            self._committed_at = now
            for partition, _window in windows:
                partition.changed = False
            self._client.begin_commit(windows)

    def _collect(self) -> None:
        """
        Take the answer to a plain commit, if it is here. What was refused is committed with the
        next one.
        """
        ended = self._client.end_commit() if self._client.committing else None
        if ended is None:
            return
        windows, error = ended
        if not error:
            self._commit_gate.succeeded()
            return
        for partition, _window in windows:
            partition.changed = True
        self._commit_gate.failed(
            Unavailable(f"offsets: {error}", resource="broker", reason="it refuses offsets")
        )


def _windows(partitions: Iterable[Partition]) -> list[tuple[Partition, Window]]:
    return [(p, p.window(include_handled=False)) for p in partitions if p.changed and p.next >= 0]
