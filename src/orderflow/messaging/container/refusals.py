"""
Finds the record whose output the broker refuses for good: transactions are halved, until the one
that is refused alone is charged an attempt.
"""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.container.failures import Failures
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.transactions import TransactionAborted
from orderflow.messaging.telemetry import logger

log = logger("listener")


class OutputRefused(OrderflowError):
    """The broker refuses, for good, what is published for this record alone."""


class Refusals:
    """
    Bounds how many handled records share a transaction: half as many after each refusal, until the
    record that is refused alone is known; twice as many after each commit of so many.
    """

    def __init__(self, shared: Shared, failures: Failures) -> None:
        self._name = shared.settings.listener.name
        self._queues = shared.queues
        self._most = self._records_max = shared.settings.records_max
        self._failures = failures

    def room(self, handled: int) -> int:
        """How many more records a transaction may hold that has `handled` already."""
        return max(0, self._records_max - handled)

    def committed(self, handled: Sequence[Record]) -> None:
        """A transaction with these handled records was accepted."""
        if not handled:
            return
        self._failures.accepted()
        # Not after fewer: one small transaction that succeeds says nothing about a full one.
        if len(handled) >= self._records_max:
            self._records_max = min(self._most, 2 * self._records_max)

    def refused(self, handled: Sequence[Record], error: TransactionAborted) -> list[Record]:
        """
        An output of these records, which are heads of their keys again, was refused. Returns those
        that are over, as dead letters.
        """
        if len(handled) > 1:
            self._records_max = len(handled) // 2
            self._queues.put_back(handled)
            log.info(
                "a transaction is refused, and halved",
                listener=self._name,
                records=len(handled),
                why=str(error),
            )
            return []

        (record,) = handled
        record.progress.refused = True
        refused = OutputRefused(str(error))
        refused.__cause__ = error
        return [record] if self._failures.refused(record, refused, self._queues.ready) else []
