"""
The partitions of a real consumer: assigned, revoked and lost, read from what is committed, paused
and sought.

Rebalance callbacks run inside the consumer's `poll`, on the container's thread. A callback never
raises; what went wrong in it is kept in `problem`, for the caller of `poll` to raise.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from orderflow.messaging.container.client.kafka_client import Assigned, BeforeRevoke
from orderflow.messaging.container.client.out_of_range import place_again
from orderflow.messaging.container.records.partition import Partition, restored
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    TopicPartition,
)
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.telemetry import counter, logger

SLICE_S = 2.0
PAUSED_POLL_S = 0.1

REBALANCES = counter("listener_rebalances", "Partitions given and taken.", ("listener", "what"))

log = logger("listener")


class Assignment:
    """
    `partitions` are the assigned ones. One that was taken away is marked `gone` and removed.

    `refused`: those whose log does not have the offset that was asked for. Nothing of them is
    fetched until `place_again`.
    """

    def __init__(self, settings: ContainerSettings, consumer: Consumer) -> None:
        self._settings = settings
        self._name = settings.listener.name
        self._topics = list(settings.listener.subscribed)
        self._committed_within_s = settings.committed_within_s
        self._consumer = consumer
        self._before_revoke: BeforeRevoke | None = None
        self._on_assigned: Assigned | None = None
        self.partitions: dict[Place, Partition] = {}
        self.refused: set[Place] = set()
        self.problem: BaseException | None = None

    def subscribe(self, before_revoke: BeforeRevoke, assigned: Assigned) -> None:
        """Join the group. Partitions come in later calls of the consumer's `poll`."""
        self._before_revoke, self._on_assigned = before_revoke, assigned
        self._consumer.subscribe(
            self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def of_new_consumer(self, consumer: Consumer) -> Assignment:
        """One that joins the same group with another consumer, and is told of the same."""
        new = Assignment(self._settings, consumer)
        if self._before_revoke is not None and self._on_assigned is not None:
            new.subscribe(self._before_revoke, self._on_assigned)
        return new

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch no more of these. If one was taken away this very moment, none is changed."""
        self._set_paused([p for p in partitions if not p.paused and not p.gone], paused=True)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again, as `pause` does."""
        self._set_paused([p for p in partitions if p.paused and not p.gone], paused=False)

    def pause_all(self) -> None:
        """Fetch nothing, of partitions without state neither."""
        with suppress(KafkaException):  # One of them may have been taken away this very moment.
            self._consumer.pause(self._consumer.assignment())

    def forget_all(self) -> None:
        """Drop the state of all partitions; they stay assigned."""
        self._forget(list(self.partitions.values()))

    def start_again(self) -> None:
        """
        Read every assigned partition again from its committed offset and metadata, and fetch from
        there.

        Raises Unavailable when what is committed can't be read for 40 s.
        """
        assigned = self._consumer.assignment()
        self.forget_all()
        partitions = self._committed(assigned)
        for partition in partitions:
            self._seek(partition, _position(partition))
            self.partitions[partition.topic, partition.number] = partition
        self._show(partitions)
        self._fetch(partitions)

    def place_again(self) -> None:
        """
        Go on with `refused` partitions where their logs begin. One whose leader does not answer
        stays refused.
        """
        for place in [*self.refused]:
            partition = self.partitions.get(place)
            try:
                if partition is not None:
                    self._place_again(partition)
            except KafkaException:
                continue
            self.refused.discard(place)

    def _place_again(self, partition: Partition) -> None:
        target = TopicPartition(partition.topic, partition.number)
        first, end = self._consumer.get_watermark_offsets(target, timeout=SLICE_S)

        placed = place_again(self._name, partition, first=first, end=end)
        if placed is not partition:
            self._forget([partition])
            self.partitions[placed.topic, placed.number] = placed
            self._show([placed])
        self._seek(placed, first)
        placed.paused = True
        if not placed.restoring:
            self.resume([placed])

    def _assigned(self, consumer: Any, given: list[TopicPartition]) -> None:
        try:
            partitions = self._committed(given)
            # With explicit offsets, because the client would begin at its own idea of the committed
            # ones.
            consumer.incremental_assign(
                [TopicPartition(p.topic, p.number, _position(p)) for p in partitions]
            )
            for partition in partitions:
                self.partitions[partition.topic, partition.number] = partition

            self._show(partitions)
            self._fetch(partitions)
            REBALANCES.labels(self._name, "assigned").inc(len(given))
        except BaseException as error:  # noqa: BLE001 - must not cross the client's C code
            self.problem = error

    def _show(self, partitions: list[Partition]) -> None:
        """Let the delivery mark those whose state is restored first."""
        if self._on_assigned is not None:
            self._on_assigned(partitions)

    def _fetch(self, partitions: list[Partition]) -> None:
        """
        Pause those that are restored first, and fetch the others: a partition that was paused when
        it left is paused when it comes back.
        """
        waiting = [p for p in partitions if p.restoring]
        ready = [p for p in partitions if not p.restoring]
        if waiting:
            self._consumer.pause([TopicPartition(p.topic, p.number) for p in waiting])
            for partition in waiting:
                partition.paused = True
        if ready:
            self._consumer.resume([TopicPartition(p.topic, p.number) for p in ready])

    def _revoked(self, _consumer: Any, taken: list[TopicPartition]) -> None:
        try:
            leaving = self._with_state(taken)
            if self._before_revoke is not None:
                self._before_revoke(leaving)
            self._forget(leaving)
            REBALANCES.labels(self._name, "revoked").inc(len(taken))
        except BaseException as error:  # noqa: BLE001 - as above
            self.problem = error

    def _lost(self, _consumer: Any, taken: list[TopicPartition]) -> None:
        # Not ours any more, perhaps for long: whatever was committed now could overwrite the next
        # owner's offsets.
        self._forget(self._with_state(taken))
        REBALANCES.labels(self._name, "lost").inc(len(taken))
        places = [f"{p.topic}-{p.partition}" for p in taken]
        log.warning("partitions lost", listener=self._name, partitions=places)

    def _with_state(self, given: list[TopicPartition]) -> list[Partition]:
        return [
            p for tp in given if (p := self.partitions.get((tp.topic, tp.partition))) is not None
        ]

    def _forget(self, leaving: list[Partition]) -> None:
        for partition in leaving:
            place = partition.topic, partition.number
            partition.gone = True
            self.partitions.pop(place, None)
            self.refused.discard(place)

    def _committed(self, given: list[TopicPartition]) -> list[Partition]:
        """
        New state for `given`, from the committed offsets and their metadata.

        The broker delays its answer while a predecessor's transaction is open. Raises Unavailable
        after 40 s.

        To be asked of a coordinator that has loaded: another answers with what it has so far. One
        that has just assigned a partition has loaded; `start_again` relies on `end_remains`.
        """
        if not given:
            return []

        deadline = time.monotonic() + self._committed_within_s
        while True:
            try:
                answers = self._consumer.committed(
                    [TopicPartition(tp.topic, tp.partition) for tp in given], timeout=SLICE_S
                )
                why = "; ".join(tp.error.str() for tp in answers if tp.error is not None)
            except KafkaException as error:
                answers, why = [], error.args[0].str()

            if not why:
                return [
                    restored((tp.topic, tp.partition), tp.offset, tp.metadata) for tp in answers
                ]
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"committed offsets of {self._name} can't be read: {why}", resource="broker"
                )

    def _seek(self, partition: Partition, offset: int) -> None:
        target = TopicPartition(partition.topic, partition.number, offset)
        deadline = time.monotonic() + self._committed_within_s
        while True:
            try:
                self._fetch_from(target)
                return
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"seek on {partition.topic}: {error.args[0].str()}", resource="broker"
                    ) from error

            # Not by `poll`: it could return a record of a partition whose state is read already.
            time.sleep(PAUSED_POLL_S)

    def _fetch_from(self, target: TopicPartition) -> None:
        try:
            self._consumer.seek(target)
        except KafkaException:
            # The client does not seek a partition that it stopped fetching because the broker
            # refused its offset.
            self._consumer.incremental_unassign([target])
            self._consumer.incremental_assign([target])

    def _set_paused(self, partitions: list[Partition], *, paused: bool) -> None:
        if not partitions:
            return
        change = self._consumer.pause if paused else self._consumer.resume
        try:
            change([TopicPartition(p.topic, p.number) for p in partitions])
        except KafkaException as error:
            # One of them was taken away this very moment: its callback comes with the next poll,
            # and the next turn tries the others again.
            log.info("pause or resume", listener=self._name, why=error.args[0].str())
            return
        for partition in partitions:
            partition.paused = paused


def _position(partition: Partition) -> int:
    return partition.start if partition.start >= 0 else OFFSET_BEGINNING
