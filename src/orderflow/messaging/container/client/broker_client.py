"""
The container's client on real brokers: one consumer and one transactional producer. See
`kafka_client.KafkaClient`.

Everything in here runs on the container's thread, the client library's callbacks too: they run
inside `poll`, which is only called with no transaction open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from orderflow.messaging.container.client.assignment import PAUSED_POLL_S, SLICE_S, Assignment
from orderflow.messaging.container.client.fencings import Fencings
from orderflow.messaging.container.client.kafka_client import (
    Assigned,
    BeforeRevoke,
    Polled,
    Windows,
)
from orderflow.messaging.container.client.remains import end_remains
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Fenced, OrderflowError, Unavailable, redacted
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka import clients, finished_offsets
from orderflow.messaging.kafka.clients import KafkaError, KafkaException, TopicPartition
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import (
    Placed,
    Produced,
    ProducerLost,
    Refusal,
    TransactionAborted,
    Transactions,
)
from orderflow.messaging.telemetry import counter, logger

ASK_EVERY_S = 1.0
ASK_FOR_S = 0.5
NEW_PRODUCER_S = (0.1, 5.0)
"""The back-off between producers that are refused at once, as one without the right to its id."""

# The client library's public names of its own errors begin with an underscore.
AUTO_OFFSET_RESET = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
LOG_TRUNCATION = KafkaError._LOG_TRUNCATION  # noqa: SLF001
ALL_BROKERS_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
FATAL = KafkaError._FATAL  # noqa: SLF001
MAX_POLL_EXCEEDED = KafkaError._MAX_POLL_EXCEEDED  # noqa: SLF001
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001

RENEWALS = counter(
    "listener_producer_renewals", "Producers that were replaced by a new one.", ("listener",)
)

log = logger("listener")


class BrokerClient:
    """
    Consumer and producer of one worker. Waits on brokers in slices of at most 2 s, with `between`
    in between.
    """

    def __init__(self, settings: ContainerSettings, *, between: Callable[[], None]) -> None:
        self._settings = settings
        self._name = settings.listener.name
        self._between = between
        RENEWALS.labels(self._name)
        self.broker_error = ""

        self._group_metadata: Any = None
        self._ask_at = 0.0
        self._began_at = 0.0
        self._topics_there: set[str] = set()
        self._fencings = Fencings()
        self._renewing = False
        self._in_transaction = False

        self._in_flight: Windows = ()
        self._in_flight_since = 0.0
        self._answer: list[KafkaError | None] = []

        self._consumer = self._new_consumer()
        self._assignment = Assignment(settings, self._consumer)
        self._transactions = self._new_producer()

    def open(self, before_revoke: BeforeRevoke, assigned: Assigned) -> None:
        """
        Waits for the brokers without bound. The predecessor is fenced before its offsets are read.
        """
        self._init_producer()
        self.broker_error = ""
        self._assignment.subscribe(before_revoke, assigned)

    def close(self) -> None:
        self._consumer.close()

    @property
    def partitions(self) -> Mapping[Place, Partition]:
        return self._assignment.partitions

    @property
    def is_member(self) -> bool:
        # After `max.poll.interval.ms` the group metadata still looks normal; only the member id is
        # empty.
        return bool(self._consumer.memberid())

    def poll(self, timeout_s: float, records_max: int, *, rest_s: float = 0.0) -> Polled:
        if self.broker_error:
            self._ask_again()
        # Before anything is fetched: what the last poll brought of such a partition came before its
        # refusal, and has been admitted to the old state.
        self._assignment.place_again()

        messages = self._fetched(timeout_s, records_max, rest_s)
        read: list[tuple[Any, KafkaError | None]] = [(each, each.error()) for each in messages]
        if (fenced := self._first_fencing(error for _, error in read)) is not None:
            self._join_anew(fenced)
            read = []

        # Taken here, after the turn's last rebalance and before its transaction: metadata taken
        # later could belong to a newer generation, and would let through offsets of partitions that
        # somebody else has by now.
        self._group_metadata = self._consumer.consumer_group_metadata()
        if self._assignment.problem is not None:
            raise self._assignment.problem

        partitions = self._assignment.partitions
        assigned, ends = [], []
        for message, error in read:
            # None: taken away by a callback after it was fetched. The next owner reads it.
            partition = partitions.get((message.topic(), message.partition()))
            if error is None:
                if partition is not None:
                    assigned.append(message)
            elif error.code() != PARTITION_EOF:
                self._judge(message)
            elif partition is not None:
                ends.append((partition, message.offset()))

        if assigned:
            self.broker_error = ""
        return Polled(assigned, ends)

    def _fetched(self, timeout_s: float, records_max: int, rest_s: float) -> list[Any]:
        """What the client returns, errors and ends of partitions among it."""
        consumer = self._consumer
        if rest_s > 0:
            return list(consumer.consume(records_max, rest_s))
        first = consumer.poll(timeout_s)
        return [] if first is None else [first, *consumer.consume(records_max - 1, 0)]

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._assignment.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._assignment.resume(partitions)

    def transact(
        self, records: Sequence[Produced], windows: Windows, placed: Sequence[Placed] = ()
    ) -> Mapping[Place, int]:
        try:
            self._expect_topics({r[0] for r in records} | {r.topic for r in placed})
            return self._transact(records, windows, placed)
        except TransactionAborted:
            self._topics_there.clear()
            raise

    def _expect_topics(self, topics: set[str]) -> None:
        """
        Ask for topics that nothing was sent to yet, or not since the last failure. Raises
        TransactionAborted for one that is missing, or that this process may not see.

        The client would wait for the topic until the transaction has timed out, and only then say
        that something was not delivered.
        """
        for topic in topics - self._topics_there:
            if not self._transactions.expects(topic):
                why = f"topic {topic} is missing, or may not be seen"
                raise TransactionAborted(why, resource="broker", refused=Refusal.TOPIC, reason=why)
            self._topics_there.add(topic)

    def _transact(
        self, records: Sequence[Produced], windows: Windows, placed: Sequence[Placed]
    ) -> Mapping[Place, int]:
        transactions = self._transactions
        commits = [_commit_of(partition, window) for partition, window in windows]
        self._began_at = time.monotonic()
        transactions.begin()
        try:
            transactions.produce(records)
            if placed:
                transactions.produce_placed(placed)
            failpoint("listener.after_produce", before=transactions.flush)
            failpoint("listener.before_send_offsets", before=transactions.flush)
            transactions.send_offsets(commits, self._group_metadata)
            failpoint("listener.before_commit", before=transactions.flush)
        except OrderflowError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing was committed: undo it, whatever it was
            transactions.abort(f"unexpected {error_text(error)}", error)

        # Outside the `try`: once a commit was sent, an error does not say that nothing was
        # committed.
        transactions.commit()
        self.broker_error = ""
        failpoint("listener.after_commit")
        return transactions.ends if placed else {}

    @property
    def reports(self) -> Reports:
        return self._transactions.reports

    @property
    def committing(self) -> bool:
        return bool(self._in_flight)

    def begin_commit(self, windows: Windows) -> None:
        self._in_flight, self._in_flight_since, self._answer = windows, time.monotonic(), []
        try:
            # Not synchronously: with the broker away that call would hold this thread for a minute.
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
        if windows and not self.broker_error:
            with suppress(KafkaException):
                self._consumer.commit(
                    offsets=[_commit_of(p, w) for p, w in windows], asynchronous=False
                )

    def renew(self, lost: ProducerLost) -> None:
        if lost.fenced:
            self._refuse_if_replaced(lost)
        RENEWALS.labels(self._name).inc()
        self._topics_there.clear()
        log.warning("the producer is replaced", listener=self._name, why=str(lost))

        # Forgotten at once, so that records in memory, whose fate is unknown, belong to nobody from
        # here on.
        self._assignment.forget_all()
        self._renewing = True
        try:
            self._assignment.pause_all()
            self._transactions = self._new_producer()
            self._init_producer()
            # And forgotten again: a partition that was assigned during the wait was read from
            # offsets that may be older than the end of the lost transaction. Only now, with that
            # transaction ended and a coordinator that has loaded, are they final.
            self._assignment.start_again()
        finally:
            self._renewing = False

    def _init_producer(self) -> None:
        """
        Fence the producer before this one and end its transactions, with as many new producers as
        that takes. Waits without bound. Raises Fenced for a worker that was replaced meanwhile.
        """
        back_off_s, most = NEW_PRODUCER_S
        while True:
            try:
                self._transactions.init()
                self._end_remains()
                return

            except (ProducerLost, TransactionAborted) as error:
                # Before it is replaced: a new producer would fence the one that has the slot now.
                if self._renewing and isinstance(error, ProducerLost) and error.fenced:
                    self._refuse_if_replaced(error)
                self._note(str(error))
                self._rest(back_off_s)
                back_off_s = min(most, 2 * back_off_s)
                self._transactions = self._new_producer()

    def _end_remains(self) -> None:
        """
        What `init` does not know of: a transaction that the broker calls complete, without its
        marker.
        """
        self._began_at = time.monotonic()
        # Without a poll: a partition that came in one would have no answer to its offsets before
        # this transaction ends.
        self._in_transaction = True
        try:
            end_remains(self._settings, self._transactions, between=self._between_slices)
        finally:
            self._in_transaction = False

    def _rest(self, seconds: float) -> None:
        """Wait between two producers; a member keeps its membership. Raises as a stop does."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._between()
            if self._renewing:
                self._poll_paused()
            else:
                time.sleep(PAUSED_POLL_S)

    def _refuse_if_replaced(self, lost: ProducerLost) -> None:
        """
        Raise Fenced if another process runs in this slot; return if the broker only timed the
        transaction out.
        """
        now = time.monotonic()
        if self._fencings.is_replaced(open_s=now - self._began_at, now=now):
            raise self._replaced(str(lost))

        # If the instance id was taken too, the consumer says so within a heartbeat: `_poll_paused`
        # raises Fenced.
        until = now + self._settings.fenced_poll_s
        self._assignment.pause_all()
        while time.monotonic() < until:
            self._poll_paused()

    def _first_fencing(self, errors: Iterable[KafkaError | None]) -> KafkaError | None:
        """
        The broker's word that another member has this slot's instance id, unless it is the second
        one within a minute.

        A coordinator that could not write down our own join, or whose answer got lost, knows us by
        a member id that we never heard of, and fences the one that we have. Another process with
        this slot joins again too, and so fences us again.
        """
        fencing = next(
            (error for error in errors if error is not None and _is_fencing(error)), None
        )
        is_second = fencing is not None and self._fencings.is_second_instance(time.monotonic())
        return None if is_second else fencing

    def _join_anew(self, fencing: KafkaError) -> None:
        """
        Go on with a new consumer: one that was fenced is finished for good. What was read and not
        committed is read again.
        """
        log.warning("the consumer is replaced", listener=self._name, why=redacted(fencing.str()))
        self._assignment.forget_all()
        if self._in_flight:
            self._answer = [fencing]

        fenced, self._consumer = self._consumer, self._new_consumer()
        self._assignment = self._assignment.of_new_consumer(self._consumer)
        fenced.close()

    def _replaced(self, why: str) -> Fenced:
        slot = self._settings.slot
        return Fenced(
            f"slot {slot} of {self._name} runs elsewhere ({why}): nothing of this worker's last "
            f"batch is visible; it ends. Give each worker a slot of its own: --slot {slot + 1}"
        )

    def _new_consumer(self) -> clients.Consumer:
        settings = self._settings
        return clients.listener_consumer(
            settings.kafka,
            settings.listener.group,
            instance_id=settings.instance_id,
            protocol=settings.protocol,
            error_cb=self._on_error,
            on_commit=self._on_commit,
            **settings.consumer_overrides,
        )

    def _new_producer(self) -> Transactions:
        producer = clients.transactional_producer(
            self._settings.kafka, self._settings.transactional_id
        )
        return Transactions(producer, between=self._between_slices)

    def _on_error(self, error: KafkaError) -> None:
        """
        An error outside any call, reported inside `poll`: for an idle consumer the only sign of a
        dead broker.
        """
        if error.code() == ALL_BROKERS_DOWN:
            self._note(error.str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        failed = [tp.error for tp in partitions if tp.error is not None]
        self._answer = [error or (failed[0] if failed else None)]

    def _ask_again(self) -> None:
        """
        Ask once a second while the broker seems to be away: librdkafka does not notify an idle
        consumer of a recovered broker.
        """
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
        # Only while no transaction is open: a poll inside one could take partitions away whose
        # offsets it sends.
        if self._renewing and not self._in_transaction:
            self._poll_paused()

    def _poll_paused(self) -> None:
        """
        Keep the membership without fetching; a partition that is assigned now is paused at once.
        """
        message: Any = self._consumer.poll(PAUSED_POLL_S)
        if message is not None and (error := message.error()) is not None:
            # A producer is renewed in the same outages in which a join gets lost.
            if (fenced := self._first_fencing((error,))) is not None:
                self._join_anew(fenced)
            else:
                self._judge(message)
        if self._assignment.problem is not None:
            raise self._assignment.problem
        self._assignment.pause_all()

    def _judge(self, message: Any) -> None:
        """
        Raise if the consumer can't go on; else keep the error of `message` as the reason why
        brokers seem to be away.
        """
        error: KafkaError = message.error()
        code, text = error.code(), error.str()
        if code in (AUTO_OFFSET_RESET, LOG_TRUNCATION):
            self._assignment.refused.add((message.topic(), message.partition()))
            return

        if _is_fencing(error):
            raise self._replaced(text)
        if _is_fatal(error):
            raise Unavailable(
                f"the consumer of {self._name} is finished: {text}", resource="broker"
            )

        if code == MAX_POLL_EXCEEDED:
            log.warning("polled too late; partitions are taken away", listener=self._name)
            return
        self._note(text)

    def _note(self, text: str) -> None:
        """Keep why the brokers seem to be away; what the client says is for the log alone."""
        if self.broker_error != text:
            log.warning("consumer", listener=self._name, error=redacted(text))
        self.broker_error = text


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == FATAL


def _is_fencing(error: KafkaError) -> bool:
    """Whether another member has the instance id."""
    # A fatal error comes as _FATAL, whose own `fatal()` is false; which one it was, only its text
    # says.
    return error.code() == KafkaError.FENCED_INSTANCE_ID or (
        _is_fatal(error) and "group.instance.id" in error.str()
    )


def _commit_of(partition: Partition, window: Window) -> TopicPartition:
    metadata = finished_offsets.encode(window)
    return TopicPartition(partition.topic, partition.number, window.base, metadata)
