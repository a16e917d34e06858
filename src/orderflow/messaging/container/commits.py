"""The end of a turn: what was done becomes true, on Kafka and in the group's offsets, or is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from orderflow.messaging.container.kafka_client import KafkaClient
from orderflow.messaging.container.metrics import COMMIT_S, RECORDS, WAITING
from orderflow.messaging.container.partition import Item, Partition
from orderflow.messaging.container.queues import Queues
from orderflow.messaging.container.record_log import RecordLog
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.transactions import ProducerLost, TransactionAborted
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.gate import Gate

LAST_POLL_S = 0.5

log = logger("listener")


class Commits:
    """`rest_until`: monotonic seconds before which the next transaction should not begin without need."""

    def __init__(
        self,
        settings: ContainerSettings,
        *,
        kafka: KafkaClient,
        gates: dict[str, Gate],
        queues: Queues,
        clock: Clock,
        record_log: RecordLog,
        hand_on: Callable[[Item], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._name = settings.listener.name
        self._exactly_once = settings.listener.is_exactly_once
        self._prepares = settings.listener.prepares
        self._kafka = kafka
        self._gates = gates
        self._queues = queues
        self._record_log = record_log
        self._hand_on = hand_on
        self._committed_at = 0.0
        self.rest_until = 0.0
        self.last_record_at = 0.0

    def last(self, deadline: float) -> None:
        """Commit what is done before the worker leaves."""
        while self._kafka.committing and self._clock.monotonic() < deadline:
            # What this brings is not admitted any more: somebody reads it again.
            self._kafka.poll(LAST_POLL_S, 1)
            self.collect()
        if self._exactly_once or self._queues.dead:
            self.end_turn()
        else:
            self._kafka.commit_now(self._plain_windows(self._kafka.partitions.values()))

    def end_turn(self) -> None:
        now, queues = self._clock.monotonic(), self._queues
        self._reach_ends(now)
        queues.drop_gone()
        if self._exactly_once:
            if queues.done or queues.skipped or queues.dead or self.any_changed():
                self._transact()
        elif self._kafka.committing or not self._gates["commit"].may_try(now):
            return
        elif queues.dead:
            self._transact()
        elif self.any_changed() and now - self._committed_at >= self._settings.commit_every_s:
            self._commit_plainly()

    def any_changed(self) -> bool:
        return any(partition.changed for partition in self._kafka.partitions.values())

    def _reach_ends(self, now: float) -> None:
        """Idle lag reads 0: what lies between the last record and the end are markers."""
        if now - self.last_record_at < self._settings.idle_after_s:
            return
        for partition in self._kafka.partitions.values():
            # Of an empty partition there is nothing to say: 0 is where a reader begins anyway.
            if partition.eof > max(partition.next, 0) and all(
                item is None for item in partition.unfinished.values()
            ):
                partition.reach_eof()

    def _transact(self) -> None:
        """Outputs, dead letters and offsets of this turn, in one Kafka transaction."""
        commit, queues = self._gates["commit"], self._queues
        began = self._clock.monotonic()
        if not commit.may_try(began):
            queues.put_back()
            return
        if not self._kafka.is_member:
            queues.put_back()
            commit.failed(
                Unavailable("not a member of the group at this moment", resource="broker")
            )
            return
        windows = self._windows()
        try:
            self._kafka.transact(
                [*queues.outputs, *(letter for _item, letter in queues.dead)], windows
            )
        except TransactionAborted as error:
            log.warning("aborted; its records are put back", listener=self._name, why=str(error))
            queues.put_back()
            commit.failed(error)
        except ProducerLost as error:
            self._kafka.renew(error)
            queues.forget()
        else:
            commit.succeeded()
            self._finish(windows)
            self._rest(began)

    def _finish(self, windows: Sequence[tuple[Partition, Window]]) -> None:
        queues = self._queues
        RECORDS.labels(self._name, "handled").inc(len(queues.done))
        RECORDS.labels(self._name, "dead").inc(len(queues.dead))
        self._record_log.over(queues.done, "handled")
        self._record_log.over(queues.skipped, "skipped")
        self._record_log.over((item for item, _letter in queues.dead), "dead letter")
        handled = queues.done
        for item in queues.committed():
            item.partition.finish(item)
        for partition, _window in windows:
            partition.changed = False
        self._show_waiting()
        if self._prepares:
            for item in handled:
                self._hand_on(item)

    def _windows(self) -> list[tuple[Partition, Window]]:
        queues = self._queues
        touched = {item.partition for item in (*queues.done, *queues.skipped)}
        touched.update(item.partition for item, _letter in queues.dead)
        touched.update(
            partition for partition in self._kafka.partitions.values() if partition.changed
        )
        return [(partition, partition.window()) for partition in touched if partition.next >= 0]

    def _commit_plainly(self) -> None:
        windows = self._plain_windows(self._kafka.partitions.values())
        if windows:
            self._committed_at = self._clock.monotonic()
            for partition, _window in windows:
                partition.changed = False
            self._kafka.begin_commit(windows)

    def collect(self) -> None:
        """A plain commit was answered, or not yet. What could not be committed is committed with the next."""
        ended = self._kafka.end_commit()
        if ended is None:
            return
        windows, error = ended
        if not error:
            self._gates["commit"].succeeded()
            self._show_waiting()
            return
        for partition, _window in windows:
            partition.changed = True
        self._gates["commit"].failed(Unavailable(f"offsets: {error}", resource="broker"))

    def before_revoke(self, leaving: list[Partition]) -> None:
        """What is done but not committed would be repeated by the next owner; the inbox would absorb it."""
        if not self._exactly_once:
            self._kafka.commit_now(self._plain_windows(leaving))

    def _plain_windows(self, partitions: Iterable[Partition]) -> list[tuple[Partition, Window]]:
        return [(p, p.window(settled=False)) for p in partitions if p.changed and p.next >= 0]

    def _show_waiting(self) -> None:
        WAITING.labels(self._name).set(
            sum(len(p.unfinished) for p in self._kafka.partitions.values())
        )

    def _rest(self, began: float) -> None:
        """The rest after a commit: twice as long as it took, within bounds, so that load grows batches."""
        now = self._clock.monotonic()
        least, most = self._settings.rest_s
        self.rest_until = now + min(most, max(least, 2 * (now - began)))
        COMMIT_S.labels(self._name).observe(now - began)
