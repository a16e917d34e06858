"""
The short way, for a delivery that folds: all fetched records of a partition go to it at once.

As long as nothing of a partition waits, its records need no lanes, waves or states of their own: a
fold takes records of one key in their order. At the first trouble (a record that can't be read, a
function that raises, a resource that is away, a transaction that is not committed) these records
take the usual way, where the one at fault is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from orderflow.messaging.container.client.kafka_client import Polled
from orderflow.messaging.container.metrics import BATCH_RECORDS, PROCESS_S, RECORDS
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.uncommitted import BulkTaken
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.intake import BulkRecord, Intake
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Fenced, Stopped
from orderflow.messaging.telemetry import logger

log = logger("listener")


class BulkDelivery(Protocol):
    """A delivery that takes records in bulk."""

    def handle_bulk(self, partition: Partition, batch: Sequence[BulkRecord]) -> None:
        """
        Compute what `batch` does, in its order, for the turn's transaction. Whatever is raised,
        nothing of it was done.
        """


class Bulk:
    """
    `take` keeps what a poll brought, `run` hands it to the delivery when the turn is to be
    committed: a rebalance in between only drops it.
    """

    def __init__(
        self, shared: Shared, *, intake: Intake, delivery: BulkDelivery, may_run: Callable[[], bool]
    ) -> None:
        self._name = shared.settings.listener.name
        self._client = shared.client
        self._uncommitted = shared.uncommitted
        self._record_log = shared.record_log
        self._clock = shared.clock
        self._seconds = PROCESS_S.labels(shared.settings.listener.group)
        self._records = BATCH_RECORDS.labels(self._name)
        self._intake = intake
        self._delivery = delivery
        self._may_run = may_run
        self._pending: dict[Partition, list[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    def take(self, polled: Polled) -> Polled:
        """Keep the records of partitions of which nothing waits; returns the others."""
        partitions, pending = self._client.partitions, self._pending
        others: list[Any] = []
        for message in polled.messages:
            partition = partitions[message.topic(), message.partition()]
            if partition in pending:
                pending[partition].append(message)
            # What was finished before a restart comes again behind what waited: admission knows it.
            elif partition.is_clear and message.offset() >= partition.next:
                pending[partition] = [message]
            else:
                others.append(message)
        return Polled(others, polled.ends)

    def run(self) -> list[Any]:
        """Hand over what is kept; returns the messages that have to take the usual way."""
        pending, self._pending = self._pending, {}
        usual: list[Any] = []
        for partition, messages in pending.items():
            if partition.gone:
                continue
            if not (self._may_run() and self._hand_over(partition, messages)):
                usual += messages
        return usual

    def _hand_over(self, partition: Partition, messages: Sequence[Any]) -> bool:
        try:
            read = [self._intake.read_in_bulk(message) for message in messages]
            handled = [record for record in read if record is not None]
            began = self._clock.monotonic()
            self._delivery.handle_bulk(partition, handled)
        except (Fenced, Stopped):
            raise
        except Exception as error:  # noqa: BLE001 - the usual way finds out what it means
            log.info(
                "records take the usual way",
                listener=self._name,
                partition=f"{partition.topic}-{partition.number}",
                records=len(messages),
                why=error_text(error),
            )
            return False

        self._seconds.observe(self._clock.monotonic() - began)
        self._records.observe(len(handled))
        skipped = len(messages) - len(handled)
        if skipped:
            RECORDS.labels(self._name, "skipped").inc(skipped)
        self._uncommitted.bulk.append(BulkTaken(partition, messages, partition.next, handled))
        partition.pass_to(messages[-1].offset() + 1)
        return True


class NoBulk:
    """Every record takes the usual way."""

    def __bool__(self) -> bool:
        return False

    def take(self, polled: Polled) -> Polled:
        return polled

    def run(self) -> list[Any]:
        return []
