"""
One transactional producer, its calls cut into slices, and every error judged by its flags, in this order:

- `fatal`: this producer is finished → ProducerLost
- `txn_requires_abort`: aborted here; nothing of it is visible, the same producer goes on → TransactionAborted
- `retriable`, and not `_CONFLICT`: the same operation again, until its budget ends
- anything else, or the budget ended: whether it committed is unknown → ProducerLost

After a transaction in which the broker refused a record (too large, say), the next one of that producer is aborted once
more, with OUT_OF_ORDER_SEQUENCE_NUMBER, whatever is in it: its records did nothing wrong.
After ProducerLost: a new producer, then go on from what `committed()` says; never from memory. A time-out is not a
failure, and aborting after one could be refused or wrong. Source: librdkafka, "Transactional producer: error handling".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from orderflow.messaging.errors import Transient
from orderflow.messaging.kafka.clients import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

RESOURCE = "broker"
SLICE_S = 2.0
BUDGET_S = 20.0
"""Longer than the transaction time-out: by then the broker has ended the transaction one way or the other."""
HANGING_S = 6.0
"""A call that was given `SLICE_S` and has not returned by then never will."""

T = TypeVar("T")
Between = Callable[[], None]
"""Called between two slices: keeps other connections alive, and may raise to give up."""

Headers = Any
Produced = tuple[str, bytes | None, bytes | None, Headers]
"""Topic, key, value, headers (pairs of name and bytes)."""


class TransactionAborted(Transient):
    """The transaction was undone as a whole; the same records may be sent again by the same producer."""


class ProducerLost(Transient):
    """This producer must not be used again. `fenced`: a newer one has its transactional id, or its time was up."""

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
    """Flags first to last; the order matters (a fatal error may look retriable when one aborts after it)."""
    if error.fatal():
        return Verdict.FATAL
    if error.txn_requires_abort():
        return Verdict.ABORT
    if error.retriable() and error.code() != KafkaError._CONFLICT:  # noqa: SLF001 - the client's public name for it
        return Verdict.RETRY
    return Verdict.UNKNOWN


class Transactions:
    """
    A transactional producer of its caller's thread. `between` runs between slices of at most 2 s.

    No delivery callback is ever set: an exception in one would come out of a commit that succeeded. The commit itself
    reports what was not delivered.
    """

    def __init__(self, producer: Producer, *, between: Between) -> None:
        self._producer = producer
        self._between = between

    def init(self) -> None:
        """
        Fence the predecessor and end its open transaction; without a budget, since nothing can go on before that.

        Raises ProducerLost on an error that waiting does not heal.
        """
        self._insist(
            "init_transactions", lambda: self._producer.init_transactions(SLICE_S), budget_s=None
        )

    def begin(self) -> None:
        """Local only. Raises ProducerLost when the producer is finished."""
        self._insist("begin_transaction", self._producer.begin_transaction)

    def produce(self, records: Iterable[Produced]) -> None:
        """Hand `records` to the client, in order. Any failure aborts: one swallowed here would be lost for good."""
        send = self._producer.produce
        try:
            for topic, key, value, headers in records:
                send(topic, value, key, headers=headers)
            self._producer.poll(0)
        except BufferError as error:
            self.abort(f"the client's queue is full: {error}", error)
        except KafkaException as error:
            self._undo("produce", self._reason(error))

    def send_offsets(self, offsets: list[TopicPartition], group_metadata: Any) -> None:
        """
        Put `offsets` into the transaction. The topic must exist: else this blocks until the budget ends.

        Raises ProducerLost also when the call does not come back at all.
        """
        # Positional only: the client raises TypeError on keywords, and blocks for good without a time-out.
        send = self._producer.send_offsets_to_transaction
        name = "send_offsets_to_transaction"
        self._insist(
            name, lambda: self._not_for_good(name, lambda: send(offsets, group_metadata, SLICE_S))
        )

    def commit(self) -> None:
        """Returns only when the broker said that it is committed."""
        self._insist("commit_transaction", lambda: self._producer.commit_transaction(SLICE_S))

    def flush(self) -> None:
        """Wait until the broker has what was produced; for tests that die at that very line."""
        while self._producer.flush(SLICE_S):
            self._between()

    def abort(self, reason: str, cause: BaseException) -> None:
        """Undo the open transaction and raise TransactionAborted, or ProducerLost if even that fails."""
        self._insist(
            "abort_transaction", lambda: self._producer.abort_transaction(SLICE_S), aborting=True
        )
        raise TransactionAborted(reason, resource=RESOURCE) from cause

    def _not_for_good(self, name: str, call: Callable[[], object]) -> None:
        """
        Make a call that may never return, whatever its time-out.

        Seen with librdkafka 2.16 after the only broker was off for 15 s and the transaction aborted: the next call
        waits for the coordinator without end. The hanging thread keeps the lost producer; the next producer fences it.
        """
        outcome: SimpleQueue[BaseException | None] = SimpleQueue()

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was asked for
                outcome.put(error)
            else:
                outcome.put(None)

        threading.Thread(target=run, name=name, daemon=True).start()
        given_up_at = time.monotonic() + HANGING_S
        while True:
            try:
                error = outcome.get(timeout=SLICE_S)
            except Empty:
                self._between()
                if time.monotonic() >= given_up_at:
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
        deadline = None if budget_s is None else time.monotonic() + budget_s
        while True:
            try:
                call()
            except KafkaException as error:
                found = verdict(error.args[0])
                out_of_time = deadline is not None and time.monotonic() >= deadline
                if found is Verdict.RETRY and not out_of_time:
                    self._between()
                    continue
                if aborting or found is Verdict.RETRY:
                    raise _lost(name, error.args[0]) from error
                self._undo(name, error)
            return

    def _reason(self, error: KafkaException) -> KafkaException:
        """`produce` only says that the producer is finished; the transactional calls say why: fenced, or else."""
        if error.args[0].code() == KafkaError._FATAL:  # noqa: SLF001 - the client's public name
            try:
                self._producer.begin_transaction()
            except KafkaException as reason:
                return reason
        return error

    def _undo(self, name: str, error: KafkaException) -> None:
        kafka_error: KafkaError = error.args[0]
        if verdict(kafka_error) is not Verdict.ABORT:
            raise _lost(name, kafka_error) from error
        self.abort(f"{name}: {kafka_error.name()} {kafka_error.str()}", error)


def committed(consumer: Consumer, partition: TopicPartition, *, between: Between) -> TopicPartition:
    """
    What a group committed on `partition`, asked in slices until there is an answer; offset < 0 means nothing.

    While a transaction that touches it is open the broker holds the answer back. Raises TransactionAborted on an error
    that waiting does not heal.
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


def topic_exists(consumer: Consumer, topic: str) -> bool:
    """Asked of the broker, within 2 s. Raises TransactionAborted when there is no answer."""
    try:
        found = consumer.list_topics(topic, SLICE_S).topics[topic]
    except KafkaException as error:
        raise TransactionAborted(
            f"metadata of {topic}: {error.args[0].str()}", resource=RESOURCE
        ) from error
    return found.error is None and len(found.partitions) > 0


def _lost(name: str, error: KafkaError) -> ProducerLost:
    what = f"{name}: {error.name()} {error.str()}"
    return ProducerLost(what, fenced=error.code() == KafkaError._FENCED)  # noqa: SLF001 - the client's public name


_HEAL = {
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the client's public names
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
}
