"""
A container's Kafka half: its consumer, its transactional producer, and the partitions it was given.

Everything here runs on the container's thread, the rebalance callbacks too: they run inside `poll`, which is only
called with no transaction open. A callback never raises; what went wrong in it comes out of the next `poll`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from orderflow.messaging.container.kafka_client import BeforeRevoke, Place, Windows
from orderflow.messaging.container.partition import Partition, restored
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Fenced, OrderflowError, Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka import finished_offsets as offsets
from orderflow.messaging.kafka.clients import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from orderflow.messaging.kafka.transactions import (
    Produced,
    ProducerLost,
    TransactionAborted,
    Transactions,
)
from orderflow.messaging.telemetry import counter, logger

SLICE_S = 2.0
PAUSED_POLL_S = 0.1
ASK_EVERY_S = 1.0
ASK_FOR_S = 0.5
FENCED_TWICE_WITHIN_S = 60.0
FENCED_INSTANCE_POLL_S = 4.0
"""After `_FENCED`: longer than a heartbeat, by which the consumer learns whether its instance id was taken too."""

RENEWALS = counter(
    "listener_producer_renewals", "Producers that were replaced by a new one.", ("listener",)
)
REBALANCES = counter("listener_rebalances", "Partitions given and taken.", ("listener", "what"))

log = logger("listener")


class Client:
    """
    `partitions` are those that are ours now; one that was taken away is marked `gone`. `before_revoke` is called with
    those that are about to be, while their offsets may still be committed.
    """

    def __init__(self, settings: ContainerSettings, *, between: Callable[[], None]) -> None:
        self._settings = settings
        self._name = settings.listener.name
        self._between = between
        self._before_revoke: BeforeRevoke = _nothing
        self.partitions: dict[Place, Partition] = {}
        self.metadata: Any = None
        self.broker_error = ""
        self._problem: BaseException | None = None
        self._fenced_at = -FENCED_TWICE_WITHIN_S
        self._renewing = False
        self._ask_at = 0.0
        self._in_flight: Windows = ()
        self._in_flight_since = 0.0
        self._answer: list[KafkaError | None] = []
        self._consumer = clients.listener_consumer(
            settings.kafka,
            settings.listener.group,
            instance_id=settings.instance_id,
            protocol=settings.protocol,
            error_cb=self._heard,
            on_commit=self._answered,
            **settings.consumer_overrides,
        )
        self._transactions = self._new_producer()

    def open(self, before_revoke: BeforeRevoke) -> None:
        """See `KafkaClient.open`. Waits for the broker without bound."""
        self._before_revoke = before_revoke
        while True:
            try:
                self._transactions.init()
                break
            except ProducerLost as error:
                self.broker_error = str(error)
                self._between()
                self._transactions = self._new_producer()
        self.broker_error = ""
        topics = list(self._settings.listener.subscribed)
        self._consumer.subscribe(
            topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def close(self) -> None:
        """Leave. With static membership the partitions stay ours until the session ends."""
        self._consumer.close()

    @property
    def is_member(self) -> bool:
        """After `max.poll.interval.ms` the metadata still looks normal; the member id tells."""
        return bool(self._consumer.memberid())

    def poll(self, timeout_s: float, records_max: int) -> list[Any]:
        """
        At most `records_max` records of our partitions. Rebalances happen in here, and only here.

        Raises Fenced when another process has our instance id, Unavailable when a callback could not do its work.
        """
        if self.broker_error:
            self._ask_again()
        first = self._consumer.poll(timeout_s)
        found = [] if first is None else [first, *self._consumer.consume(records_max - 1, 0)]
        self.metadata = self._consumer.consumer_group_metadata()
        if self._problem is not None:
            raise self._problem
        partitions = self.partitions
        ours = []
        message: Any
        for message in found:
            error = message.error()
            partition = partitions.get((message.topic(), message.partition()))
            if error is None:
                if partition is not None:
                    ours.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public name
                self._judge(error)
            elif partition is not None:
                partition.eof = message.offset()
        if ours:
            self.broker_error = ""
        return ours

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch no more of these for now; `poll` goes on and keeps us in the group."""
        self._set_paused([p for p in partitions if not p.paused and not p.gone], paused=True)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._set_paused([p for p in partitions if p.paused and not p.gone], paused=False)

    def transact(self, records: Sequence[Produced], windows: Windows) -> None:
        """
        `records` and the offsets of `windows`, in one transaction.

        Raises TransactionAborted (nothing of it is visible) or ProducerLost (unknown: `renew`, then start over).
        """
        transactions = self._transactions
        commits = [_commit_of(partition, window) for partition, window in windows]
        transactions.begin()
        try:
            transactions.produce(records)
            failpoint("listener.after_produce", before=transactions.flush)
            failpoint("listener.before_send_offsets", before=transactions.flush)
            transactions.send_offsets(commits, self.metadata)
            failpoint("listener.before_commit", before=transactions.flush)
        except OrderflowError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing was committed: undo it, whatever it was
            transactions.abort(f"unexpected {error!r}", error)
        transactions.commit()
        self.broker_error = ""
        failpoint("listener.after_commit")

    @property
    def committing(self) -> bool:
        """Is a commit outside transactions on its way? Then nothing else may commit."""
        return bool(self._in_flight)

    def begin_commit(self, windows: Windows) -> None:
        """
        Send offsets outside any transaction. One at a time; `end_commit` tells how it ended, after some `poll`.

        Not synchronously: with the broker away that call would hold this thread for a minute.
        """
        self._in_flight, self._in_flight_since, self._answer = windows, time.monotonic(), []
        try:
            self._consumer.commit(offsets=[_commit_of(p, w) for p, w in windows], asynchronous=True)
        except KafkaException as error:
            self._answer = [error.args[0]]

    def end_commit(self) -> tuple[Windows, str] | None:
        if not self._answer:
            if self._in_flight and time.monotonic() - self._in_flight_since > SLICE_S:
                self.broker_error = self.broker_error or "an offset commit is not answered"
            return None
        windows, self._in_flight = self._in_flight, ()
        error = self._answer.pop()
        return windows, "" if error is None else error.str()

    def commit_now(self, windows: Windows) -> None:
        """Commit outside any transaction and wait for it; errors are swallowed: what is lost by that is time."""
        if windows and not self.broker_error:
            with suppress(KafkaException):
                self._consumer.commit(
                    offsets=[_commit_of(p, w) for p, w in windows], asynchronous=False
                )

    def _answered(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        failed = [tp.error for tp in partitions if tp.error is not None]
        self._answer = [error or (failed[0] if failed else None)]

    def renew(self, lost: ProducerLost) -> None:
        """
        A new producer, and every partition again from what is committed. All state from before is `gone`.

        Raises Fenced when another process runs in this slot.
        """
        if lost.fenced:
            self._refuse_if_replaced(lost)
        RENEWALS.labels(self._name).inc()
        log.warning("the producer is replaced", listener=self._name, why=str(lost))
        self._forget(list(self.partitions.values()))
        self._renewing = True
        try:
            self._pause_all()
            while True:
                self._transactions = self._new_producer()
                try:
                    self._transactions.init()
                    break
                except ProducerLost as error:
                    self._poll_paused()
                    self.broker_error = str(error)
            # Whatever a callback made meanwhile may be older than the end of the transaction: read all of it again.
            assigned = self._consumer.assignment()
            self._forget(list(self.partitions.values()))
            for partition in self._committed(assigned):
                self._seek(partition)
                self.partitions[partition.topic, partition.number] = partition
            self._consumer.resume(self._consumer.assignment())
        finally:
            self._renewing = False

    def _refuse_if_replaced(self, lost: ProducerLost) -> None:
        now = time.monotonic()
        if now - self._fenced_at < FENCED_TWICE_WITHIN_S:
            raise self._replaced(str(lost))
        self._fenced_at = now
        # If our instance id was taken too, the consumer says so now: `poll` raises Fenced.
        until = now + FENCED_INSTANCE_POLL_S
        self._pause_all()
        while time.monotonic() < until:
            self._poll_paused()

    def _replaced(self, why: str) -> Fenced:
        return Fenced(
            f"slot {self._settings.slot} of {self._name} runs elsewhere ({why}): nothing of this worker's last batch "
            f"is visible; it ends. Give each worker a slot of its own: --slot {self._settings.slot + 1}"
        )

    def _new_producer(self) -> Transactions:
        producer = clients.transactional_producer(
            self._settings.kafka, self._settings.transactional_id
        )
        return Transactions(producer, between=self._between_slices)

    def _heard(self, error: KafkaError) -> None:
        """What the client tells outside of any call, from within `poll`: an idle consumer learns of it only so."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the client's public name
            self.broker_error = error.str()

    def _ask_again(self) -> None:
        """Once a second while the broker seems to be away: an idle consumer would not hear that it is back."""
        now = time.monotonic()
        if now < self._ask_at:
            return
        self._ask_at = now + ASK_EVERY_S
        with suppress(KafkaException):
            self._consumer.list_topics(self._settings.listener.topics[0].name, ASK_FOR_S)
            self.broker_error = ""

    def _between_slices(self) -> None:
        self.broker_error = self.broker_error or f"no answer to a transaction for {SLICE_S} s"
        self._between()
        if self._renewing:
            self._poll_paused()

    def _poll_paused(self) -> None:
        """Stay in the group, take no records; a partition that comes now is paused at once."""
        message: Any = self._consumer.poll(PAUSED_POLL_S)
        if message is not None and message.error() is not None:
            self._judge(message.error())
        if self._problem is not None:
            raise self._problem
        self._pause_all()

    def _pause_all(self) -> None:
        with suppress(KafkaException):  # One of them may have been taken away this very moment.
            self._consumer.pause(self._consumer.assignment())

    def _judge(self, error: KafkaError) -> None:
        # A fatal error comes as _FATAL, whose own `fatal()` is false; which one it was, only its text says.
        fatal = error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - the client's public name
        if error.code() == KafkaError.FENCED_INSTANCE_ID or (
            fatal and "group.instance.id" in error.str()
        ):
            raise self._replaced(error.str())
        if fatal:
            raise Unavailable(
                f"the consumer of {self._name} is finished: {error.str()}", resource="broker"
            )
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001 - the client's public name
            log.warning("polled too late; partitions are taken away", listener=self._name)
            return
        if self.broker_error != error.str():
            log.warning("consumer", listener=self._name, error=error.str())
        self.broker_error = error.str()

    def _assigned(self, consumer: Any, given: list[TopicPartition]) -> None:
        try:
            made = self._committed(given)
            consumer.incremental_assign(
                [TopicPartition(p.topic, p.number, _position(p)) for p in made]
            )
            for partition in made:
                self.partitions[partition.topic, partition.number] = partition
            if made:
                # A pause outlives the partition's absence.
                consumer.resume([TopicPartition(p.topic, p.number) for p in made])
            REBALANCES.labels(self._name, "assigned").inc(len(given))
        except BaseException as error:  # noqa: BLE001 - an exception must not cross the client's C code
            self._problem = error

    def _revoked(self, _consumer: Any, taken: list[TopicPartition]) -> None:
        try:
            leaving = self._named(taken)
            self._before_revoke(leaving)
            self._forget(leaving)
            REBALANCES.labels(self._name, "revoked").inc(len(taken))
        except BaseException as error:  # noqa: BLE001 - as above
            self._problem = error

    def _lost(self, _consumer: Any, taken: list[TopicPartition]) -> None:
        self._forget(self._named(taken))
        REBALANCES.labels(self._name, "lost").inc(len(taken))
        log.warning(
            "partitions lost",
            listener=self._name,
            partitions=[f"{p.topic}-{p.partition}" for p in taken],
        )

    def _named(self, given: list[TopicPartition]) -> list[Partition]:
        return [
            p for tp in given if (p := self.partitions.get((tp.topic, tp.partition))) is not None
        ]

    def _forget(self, leaving: list[Partition]) -> None:
        for partition in leaving:
            partition.gone = True
            self.partitions.pop((partition.topic, partition.number), None)

    def _committed(self, given: list[TopicPartition]) -> list[Partition]:
        """
        New state for `given`, from the committed offset and what its metadata says is finished.

        The broker holds the answer back while a predecessor's transaction is open. Raises Unavailable after 40 s.
        """
        if not given:
            return []
        deadline = time.monotonic() + self._settings.committed_within_s
        while True:
            why = ""
            try:
                answers = self._consumer.committed(
                    [TopicPartition(tp.topic, tp.partition) for tp in given], timeout=SLICE_S
                )
                why = "; ".join(tp.error.str() for tp in answers if tp.error is not None)
            except KafkaException as error:
                why = error.args[0].str()
            if not why:
                return [
                    restored((tp.topic, tp.partition), tp.offset, tp.metadata) for tp in answers
                ]
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"committed offsets of {self._name} can't be read: {why}", resource="broker"
                )

    def _seek(self, partition: Partition) -> None:
        target = TopicPartition(partition.topic, partition.number, _position(partition))
        deadline = time.monotonic() + self._settings.committed_within_s
        while True:
            try:
                self._consumer.seek(target)
                return
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"seek on {partition.topic}: {error.args[0].str()}", resource="broker"
                    ) from error
                # Not by `poll`: it could return a record of a partition that is read already.
                time.sleep(PAUSED_POLL_S)

    def _set_paused(self, partitions: list[Partition], *, paused: bool) -> None:
        if not partitions:
            return
        change = self._consumer.pause if paused else self._consumer.resume
        try:
            change([TopicPartition(p.topic, p.number) for p in partitions])
        except KafkaException as error:
            raise TransactionAborted(
                f"pause or resume: {error.args[0].str()}", resource="broker"
            ) from error
        for partition in partitions:
            partition.paused = paused


def _nothing(_leaving: list[Partition]) -> None:
    """What is done before a revocation while nobody has asked for anything."""


def _position(partition: Partition) -> int:
    return partition.start if partition.start >= 0 else OFFSET_BEGINNING


def _commit_of(partition: Partition, window: offsets.Window) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number, window.base, offsets.encode(window))
