"""
One transactional producer: its calls cut into slices, its errors judged by their flags.

The flags, in this order:

- `fatal`: this producer is finished → ProducerLost
- `txn_requires_abort`, and the broker was away (`_OUTAGE`) → ProducerLost
- `txn_requires_abort`: aborted here; nothing is visible, the producer goes on → TransactionAborted
- `retriable`, and not `_CONFLICT`: the same operation again, until its budget ends
- anything else, or the end of the budget: the outcome is unknown → ProducerLost

After ProducerLost: make a new producer and continue from what `committed()` returns, never from
memory. A time-out is not a failure: aborting after one could be refused, or wrong.

When the broker refuses a record (too large, say), that producer's next transaction is aborted too,
with OUT_OF_ORDER_SEQUENCE_NUMBER, whatever it contains: its records are not at fault.

An abort can undo more than its own transaction. While a partition has no leader, as when its only
broker stops or starts, Kafka since 4.1 drops the marker of a transaction that it has acknowledged
as committed, and calls it complete; the producer's next marker then decides about it, and that of
an abort undoes it. So after an outage nothing that was committed is certain before it is read
again.

Sources: librdkafka, "Transactional producer: error handling"; KAFKA-20734;
`docs/decisions/0026-commits-that-kafka-undoes.md`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from orderflow.messaging.errors import Transient
from orderflow.messaging.kafka.clients import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.telemetry import wanted

RESOURCE = "broker"
SLICE_S = 2.0
BUDGET_S = 20.0
"""Longer than the transaction time-out: by then the broker has ended the transaction."""
HANGING_S = 6.0
"""A call that was given `SLICE_S` and has not returned after this time never will."""
ASK_AGAIN_S = 0.01
"""A coordinator that loads says so at once."""
ANSWER_SLICE_S = 0.05

T = TypeVar("T")
Between = Callable[[], None]
"""Called between two slices: keeps other connections alive, and may raise to give up."""

Headers = Any
Produced = tuple[str, bytes | None, bytes | None, Headers]
"""Topic, key, value, headers (pairs of name and bytes)."""


class Placed(NamedTuple):
    """A record for one partition, whatever its key. `value` None deletes the key."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers

    @property
    def unplaced(self) -> Produced:
        """The record without its partition."""
        return self.topic, self.key, self.value, self.headers


class Refusal(Enum):
    """What of a transaction was refused for good: the same records would be refused again."""

    RECORD = "one of its records"
    TOPIC = "the topic of one of its records: it is missing, or may not be written"


class RefusedRecord(NamedTuple):
    """`place` of a record among those that were searched; `words`: the broker's, for log lines."""

    place: int
    what: Refusal
    words: str


class TransactionAborted(Transient):
    """
    The transaction was undone as a whole; the same producer may send the same records again.

    `refused`: what was refused for good, if that is why; None: nothing is known against any record.
    """

    usual_reason = "a transaction was undone, and is sent again"

    def __init__(
        self, message: str, *, resource: str, refused: Refusal | None = None, reason: str = ""
    ) -> None:
        why = f"it refuses of a transaction {refused.value}" if refused else ""
        super().__init__(message, resource=resource, reason=reason or why)
        self.refused = refused


class ProducerLost(Transient):
    """
    This producer must not be used again; read from Kafka what its last transaction committed.

    `fenced`: a newer producer has its transactional id, or its transaction timed out.
    """

    usual_reason = "its answer is lost: nobody knows whether a transaction is committed"

    def __init__(self, message: str, *, fenced: bool) -> None:
        super().__init__(message, resource=RESOURCE)
        self.fenced = fenced


class Verdict(Enum):
    """What an error of a transactional call means for the caller."""

    FATAL = "renew the producer"
    ABORT = "abort, then the same producer"
    RETRY = "the same operation again"
    UNKNOWN = "renew the producer, read what was committed"


def verdict(error: KafkaError) -> Verdict:
    """What `error` means, by its flags."""
    # The order matters: a fatal error may also look retriable, and abortable ones do.
    if error.fatal():
        return Verdict.FATAL
    if error.txn_requires_abort():
        return Verdict.ABORT
    # _CONFLICT: another operation is still in progress, so the outcome of this one stays unknown.
    if error.retriable() and error.code() != KafkaError._CONFLICT:  # noqa: SLF001 - a public name
        return Verdict.RETRY
    return Verdict.UNKNOWN


class Transactions:
    """
    One transactional producer, for one thread. `between` runs between slices of at most 2 s.

    One transaction: `begin`, `produce`, `send_offsets` if there are any, `commit`. Each of them may
    raise TransactionAborted or ProducerLost, as the module says.

    `reports`: where the records of `produce` are, once they are committed; for lines about them.
    """

    def __init__(self, producer: Producer, *, between: Between) -> None:
        self._producer = producer
        self._between = between
        self.ends: dict[Place, int] = {}
        self.reports = Reports()
        self._aborted_before = False

    def init(self) -> None:
        """
        Fence the predecessor and end its open transaction; waits without bound for the broker.

        Raises ProducerLost on an error that waiting does not heal.
        """
        self._insist(
            "init_transactions", lambda: self._producer.init_transactions(SLICE_S), budget_s=None
        )

    def expects(self, topic: str) -> bool:
        """Whether the topic exists. Raises TransactionAborted when the broker does not answer."""
        # Not by a consumer: its question would wait behind a fetch that waits for records.
        return topic_exists(self._producer, topic)

    def begin(self) -> None:
        """Begin a transaction, locally only. Raises ProducerLost when the producer is finished."""
        # Anew: a report that comes late is one on an earlier transaction.
        self.reports = Reports()
        self._insist("begin_transaction", self._producer.begin_transaction)

    def produce(self, records: Iterable[Produced]) -> None:
        """
        Hand `records` to the client, in their order; `commit` reports what was not delivered.

        Any failure aborts the transaction: a record that was skipped would be lost. `reports` says
        where they are, if lines at `debug` are wanted.
        """
        send = self._producer.produce
        # Without delivery callbacks but at `debug`: they cost a fifth of what sending costs.
        report = self.reports.of if wanted("debug") else None

        try:
            for number, (topic, key, value, headers) in enumerate(records):
                if report is None:
                    send(topic, value, key, headers=headers)
                else:
                    send(topic, value, key, headers=headers, on_delivery=report(number))
            _raised_by_client(lambda: self._producer.poll(0))
        except (BufferError, KafkaException) as error:
            self._refused_by_client(error)

    def produce_apart(self, records: Sequence[Produced], *, together: int) -> None:
        """
        As `produce`, but send so many at once and wait for their answers: a broker that refuses
        batches as too large takes smaller ones. Without `reports`.
        """
        errors: list[KafkaError] = []
        for start in range(0, len(records), together):
            self._send_together(records[start : start + together], errors)
            if not errors:
                continue

            # Here, not at `commit`: by then the client only says that it is in no state to send.
            error = errors[0]
            innocent = self._aborted_before and not self._tells_of_an_outage(error)
            if error.code() in _REFUSALS or innocent:
                self.abort(f"produce: {error.name()} {error.str()}", KafkaException(error))
            raise _lost("produce", error)

    def produce_placed(self, records: Iterable[Placed]) -> None:
        """
        As `produce`, each record to its own partition.

        After `commit`, `ends` has the offset after the last record on each of those partitions; not
        of those whose answers did not come in time.
        """
        self.ends = {}
        ends = self.ends

        def answered(error: KafkaError | None, message: Any) -> None:
            # Nothing in here may raise: an exception would come out of a `commit` that succeeded.
            if error is None and message.offset() is not None:
                ends[message.topic(), message.partition()] = message.offset() + 1

        # The answer to the last of each partition: its offset is above those of the others.
        last = {(record.topic, record.partition): record for record in records}
        send = self._producer.produce
        try:
            for record in records:
                topic, partition, key, value, headers = record
                if record is last[topic, partition]:
                    send(topic, value, key, partition, headers=headers, on_delivery=answered)
                else:
                    send(topic, value, key, partition, headers=headers)
            _raised_by_client(lambda: self._producer.poll(0))
        except (BufferError, KafkaException) as error:
            self._refused_by_client(error)

    def send_offsets(self, offsets: list[TopicPartition], group_metadata: Any) -> None:
        """
        Put `offsets` into the transaction. Their topic must exist: else the whole budget passes.

        Raises ProducerLost also when the call does not return.
        """
        # Positional only: the client raises TypeError on keywords, and blocks for good without a
        # time-out.
        send = self._producer.send_offsets_to_transaction
        name = "send_offsets_to_transaction"
        self._insist(
            name,
            lambda: self._within_limit(name, lambda: send(offsets, group_metadata, SLICE_S)),
        )

    def commit(self) -> None:
        """Commit. Returns only after the broker has confirmed it."""
        self._insist("commit_transaction", lambda: self._producer.commit_transaction(SLICE_S))
        self._aborted_before = False

    def abort_remains(self, offset: TopicPartition, group_metadata: Any) -> None:
        """
        Abort a transaction over `offset` alone, and with it each that lacks its marker there.

        `init` does not know of those, for the broker calls them complete, and `committed` has no
        answer while there is one. A marker ends all that this transactional id has open on the
        offsets of the group, on whichever partition; not what another id has. It is written only
        after this returns: until then `committed` has no answer on the partition of `offset`.

        Returns when the group's coordinator has loaded. Their records on other partitions may
        become visible with the next commit. Raises TransactionAborted, ProducerLost.
        """
        self.begin()
        self.send_offsets([offset], group_metadata)
        self._forget("its markers were all that was wanted of it")
        self._aborted_before = False

    def flush(self) -> None:
        """Wait until the broker has all that was produced; for tests that die at that line."""
        while self._producer.flush(SLICE_S):
            self._between()

    def abort(self, reason: str, cause: BaseException) -> None:
        """Undo the open transaction; raises TransactionAborted, or ProducerLost if that fails."""
        self._insist(
            "abort_transaction", lambda: self._producer.abort_transaction(SLICE_S), aborting=True
        )
        self._aborted_before = True
        refused = _REFUSALS.get(cause.args[0].code()) if isinstance(cause, KafkaException) else None
        raise TransactionAborted(reason, resource=RESOURCE, refused=refused) from cause

    def find_refused(self, records: Sequence[Produced]) -> tuple[int, str] | None:
        """
        The first of `records` that is refused by itself: its place, and the broker's words; None if
        none is. As `find_all_refused`.
        """
        refused = self.find_all_refused(records)
        return (refused[0].place, refused[0].words) if refused else None

    def find_all_refused(self, records: Sequence[Produced]) -> list[RefusedRecord]:
        """
        Which of `records` are refused by themselves, in their order; empty if none is.

        Nothing becomes visible: they are sent in transactions that are undone, all together first,
        and of what is refused the parts, down to single records. To be called after `commit` was
        refused, outside a transaction. What can't be judged is left out: then the broker fails for
        other reasons. Raises ProducerLost.
        """
        refused: list[RefusedRecord] = []
        groups = [range(len(records))] if records else []
        tries = 0

        while groups and tries < _TRIES_MAX:
            self.begin()
            errors: list[KafkaError] = []
            while groups:
                self._send_together([records[place] for place in groups[-1]], errors)
                if errors:
                    break
                groups.pop()
                tries = 0
            self._forget(f"{errors[0].name()} {errors[0].str()}" if errors else "all were taken")

            # After a refusal the next transaction is aborted for a reason that is nobody's: again.
            refusal = next((error for error in errors if error.code() in _REFUSALS), None)
            tries += bool(errors) and refusal is None
            if refusal is not None:
                tries = 0
                group = groups.pop()
                if len(group) > 1:
                    groups += reversed(_parts(group))
                else:
                    words = f"{refusal.name()} {refusal.str()}"
                    refused.append(RefusedRecord(group[0], _REFUSALS[refusal.code()], words))
        return refused

    def _send_together(self, records: Sequence[Produced], errors: list[KafkaError]) -> None:
        """Send records and wait until all are answered or one is refused; why goes into `errors`"""

        def answered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                errors.append(error)

        try:
            for topic, key, value, headers in records:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=answered)
        except KafkaException as error:
            errors.append(error.args[0])
            return

        # In short slices: after a refusal the client keeps the others back until they are aborted.
        deadline = time.monotonic() + BUDGET_S
        while self._producer.flush(ANSWER_SLICE_S) and not errors:
            self._between()
            if time.monotonic() >= deadline:
                raise ProducerLost("records of a search were not answered", fenced=False)

    def _forget(self, reason: str) -> None:
        with suppress(TransactionAborted):
            self.abort(reason, RuntimeError(reason))

    def _within_limit(self, name: str, call: Callable[[], object]) -> None:
        """
        Run a call that may never return, on a thread; raises ProducerLost if it does not.

        Seen with librdkafka 2.16 after the only broker was off for 15 s and the transaction was
        aborted: the next call waits for the coordinator without end, whatever its time-out.
        """
        outcome: SimpleQueue[BaseException | None] = SimpleQueue()

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                outcome.put(error)
            else:
                outcome.put(None)

        # A daemon that is left behind: it keeps the lost producer, which the next one fences.
        threading.Thread(target=run, name=name, daemon=True).start()

        give_up_at = time.monotonic() + HANGING_S
        while True:
            try:
                error = outcome.get(timeout=SLICE_S)
            except Empty:
                self._between()
                if time.monotonic() >= give_up_at:
                    raise ProducerLost(
                        f"{name} did not come back within {HANGING_S} s", fenced=False
                    ) from None
            else:
                if error is not None:
                    raise error
                return

    def _insist(
        self,
        name: str,
        call: Callable[[], object],
        *,
        budget_s: float | None = BUDGET_S,
        aborting: bool = False,
    ) -> None:
        """Repeat `call` while its errors are retriable and the budget lasts; None: no bound."""
        deadline = None if budget_s is None else time.monotonic() + budget_s
        while True:
            try:
                _raised_by_client(call)
            except KafkaException as error:
                meaning = verdict(error.args[0])
                out_of_time = deadline is not None and time.monotonic() >= deadline
                if meaning is Verdict.RETRY and not out_of_time:
                    self._between()
                    continue

                # No abort after a time-out, which is not a failure, nor after a failed abort, which
                # would only fail again.
                if aborting or meaning is Verdict.RETRY:
                    raise _lost(name, error.args[0]) from error
                self._undo(name, error)
            return

    def _refused_by_client(self, error: BufferError | KafkaException) -> None:
        """What `produce` raised, before anything was enqueued of that record."""
        if isinstance(error, BufferError):
            self.abort(f"the client's queue is full: {error}", error)
            return
        reason = self._reason(error)
        refused = reason.args[0]
        if refused.fatal() or refused.code() in _FINISHED:
            raise _lost("produce", refused) from reason
        # The client refused the record before it was enqueued, too large for example: nothing
        # has a doubtful outcome, whatever the flags say.
        self.abort(f"produce: {refused.name()} {refused.str()}", reason)

    def _reason(self, error: KafkaException) -> KafkaException:
        """The error behind `produce`'s "the producer is finished": fenced, or another."""
        if error.args[0].code() == KafkaError._FATAL:  # noqa: SLF001 - a public name
            # `begin_transaction` can't succeed any more; unlike `produce` it returns the reason.
            try:
                self._producer.begin_transaction()
            except KafkaException as reason:
                return reason
        return error

    def _tells_of_an_outage(self, error: KafkaError) -> bool:
        """Whether the broker was away meanwhile: it may have undone what it had acknowledged."""
        # A gap in the numbers that this producer's own last abort has left is none.
        if error.code() == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER:
            return not self._aborted_before
        return error.code() in _OUTAGE

    def _undo(self, name: str, error: KafkaException) -> None:
        kafka_error: KafkaError = error.args[0]
        # The successor's `init` aborts what is open; to abort it here could hang, after an outage.
        if verdict(kafka_error) is not Verdict.ABORT or self._tells_of_an_outage(kafka_error):
            raise _lost(name, kafka_error) from error
        self.abort(f"{name}: {kafka_error.name()} {kafka_error.str()}", error)


def committed(consumer: Consumer, partition: TopicPartition, *, between: Between) -> TopicPartition:
    """
    What the consumer's group committed on `partition`; an offset < 0 means nothing.

    Asks in slices until there is an answer: the broker holds it back while a transaction over that
    offset is open, or lacks its marker. So an answer is final: no later abort undoes it. Raises
    TransactionAborted on an error that waiting does not heal.
    """
    while True:
        try:
            (answer,) = consumer.committed([partition], timeout=SLICE_S)
            if answer.error is None:
                return answer
            error = answer.error
        except KafkaException as exception:
            error = exception.args[0]

        if not error.retriable() and error.code() not in _HEAL:
            raise TransactionAborted(
                f"committed offset of {partition.topic}: {error.str()}", resource=RESOURCE
            )
        between()
        time.sleep(ASK_AGAIN_S)


def topic_exists(client: Consumer | Producer, topic: str) -> bool:
    """Ask the broker, within 2 s. Raises TransactionAborted when it does not answer."""
    try:
        metadata = client.list_topics(topic, SLICE_S).topics[topic]
    except KafkaException as error:
        raise TransactionAborted(
            f"metadata of {topic}: {error.args[0].str()}", resource=RESOURCE
        ) from error
    return metadata.error is None and len(metadata.partitions) > 0


def _parts(group: range) -> list[range]:
    """A group of records in some parts, each at least a record."""
    size = -(-len(group) // _PARTS)
    return [group[start : start + size] for start in range(0, len(group), size)]


def _raised_by_client(call: Callable[[], object]) -> None:
    """
    Run a call of the client that may serve its callbacks.

    A fatal error is raised out of a callback of the client's own; the delivery callback that is
    called next then meets an exception that is already set, and the interpreter raises SystemError
    in its place.
    """
    try:
        call()
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise


def _lost(name: str, error: KafkaError) -> ProducerLost:
    what = f"{name}: {error.name()} {error.str()}"
    return ProducerLost(what, fenced=error.code() == KafkaError._FENCED)  # noqa: SLF001


_FINISHED = {
    KafkaError._FATAL,  # noqa: SLF001 - the client's public names
    KafkaError._FENCED,  # noqa: SLF001
}
"""A producer that says so enqueues nothing ever again."""

_TRIES_MAX = 3
_PARTS = 8
"""Each refusal costs two transactions that are undone, a group that is taken costs one answer."""

_REFUSALS = {
    KafkaError.MSG_SIZE_TOO_LARGE: Refusal.RECORD,
    KafkaError.RECORD_LIST_TOO_LARGE: Refusal.RECORD,
    KafkaError.INVALID_RECORD: Refusal.RECORD,
    KafkaError.INVALID_MSG: Refusal.RECORD,
    KafkaError.INVALID_TIMESTAMP: Refusal.RECORD,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Refusal.TOPIC,
    KafkaError.TOPIC_EXCEPTION: Refusal.TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART: Refusal.TOPIC,
    KafkaError._UNKNOWN_TOPIC: Refusal.TOPIC,  # noqa: SLF001 - the client's public names
    KafkaError._UNKNOWN_PARTITION: Refusal.TOPIC,  # noqa: SLF001
}
"""What a broker, or the client, has against one record or its topic."""

_OUTAGE = {
    KafkaError._INCONSISTENT,  # noqa: SLF001 - the client's public names
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
"""Why a transaction has to be aborted whose broker was away for a while."""

_HEAL = {
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the client's public names
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
