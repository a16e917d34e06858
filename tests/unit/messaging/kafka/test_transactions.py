"""What each error of a transactional call leads to, with a producer that answers as scripted."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orderflow.messaging.kafka import transactions
from orderflow.messaging.kafka.clients import (
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from orderflow.messaging.kafka.transactions import (
    Produced,
    ProducerLost,
    Refusal,
    RefusedRecord,
    TransactionAborted,
    Transactions,
    Verdict,
    verdict,
)


def error(
    code: int, *, fatal: bool = False, retriable: bool = False, aborts: bool = False
) -> KafkaError:
    return KafkaError(code, "said the test", fatal, retriable, aborts)


FENCED = error(KafkaError._FENCED, fatal=True)
ABORTABLE = error(KafkaError.UNKNOWN_MEMBER_ID, aborts=True)
TIMED_OUT = error(KafkaError._TIMED_OUT, retriable=True)
CONFLICT = error(KafkaError._CONFLICT, retriable=True)
AFTER_FATAL = error(KafkaError._FATAL)


class ScriptedProducer:
    """A producer whose calls answer in the order given: an error to raise, or None for success."""

    def __init__(self, **answers: list[KafkaError | None]) -> None:
        self.answers = answers
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*_: object, **__: object) -> int:
            self.calls.append(name)
            left = self.answers.get(name)
            answer = left.pop(0) if left else None
            if answer is not None:
                raise KafkaException(answer)
            return 0

        return call


def scripted(
    **answers: list[KafkaError | None],
) -> tuple[Transactions, ScriptedProducer, list[str]]:
    producer = ScriptedProducer(**answers)
    between: list[str] = []
    return (
        Transactions(cast("Producer", producer), between=lambda: between.append("slice")),
        producer,
        between,
    )


@pytest.mark.parametrize(
    ("flags", "means"),
    [
        (FENCED, Verdict.FATAL),
        (error(1, fatal=True, retriable=True, aborts=True), Verdict.FATAL),
        (ABORTABLE, Verdict.ABORT),
        (error(1, retriable=True, aborts=True), Verdict.ABORT),
        (TIMED_OUT, Verdict.RETRY),
        (CONFLICT, Verdict.UNKNOWN),
        (AFTER_FATAL, Verdict.UNKNOWN),
    ],
)
def test_flags_are_judged_fatal_first_then_abort_then_retry(
    flags: KafkaError, means: Verdict
) -> None:
    assert verdict(flags) is means


def test_a_time_out_repeats_the_same_operation_and_keeps_others_alive_between() -> None:
    sends, producer, between = scripted(commit_transaction=[TIMED_OUT, TIMED_OUT, None])
    sends.commit()
    assert producer.calls == ["commit_transaction"] * 3
    assert between == ["slice"] * 2


def test_an_abortable_error_is_aborted_here_and_said() -> None:
    sends, producer, _ = scripted(commit_transaction=[ABORTABLE])
    with pytest.raises(TransactionAborted, match="UNKNOWN_MEMBER_ID"):
        sends.commit()
    assert producer.calls == ["commit_transaction", "abort_transaction"]


def test_a_fenced_producer_is_lost_and_never_aborted() -> None:
    sends, producer, _ = scripted(commit_transaction=[FENCED])
    with pytest.raises(ProducerLost, match="_FENCED") as lost:
        sends.commit()
    assert lost.value.fenced
    assert producer.calls == ["commit_transaction"]


@pytest.mark.parametrize("unknown", [CONFLICT, AFTER_FATAL])
def test_an_unknown_outcome_is_neither_aborted_nor_repeated(unknown: KafkaError) -> None:
    sends, producer, _ = scripted(commit_transaction=[unknown])
    with pytest.raises(ProducerLost) as lost:
        sends.commit()
    assert not lost.value.fenced
    assert producer.calls == ["commit_transaction"]


def test_a_time_out_beyond_the_budget_is_an_unknown_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "BUDGET_S", 0.0)
    sends, producer, _ = scripted(commit_transaction=[TIMED_OUT] * 3)
    monkeypatch.setattr("time.monotonic", iter(range(0, 1000, 30)).__next__)
    with pytest.raises(ProducerLost):
        sends.commit()
    assert producer.calls == ["commit_transaction"]


def test_an_abort_that_fails_loses_the_producer_instead_of_looping() -> None:
    sends, producer, _ = scripted(commit_transaction=[ABORTABLE], abort_transaction=[ABORTABLE])
    with pytest.raises(ProducerLost):
        sends.commit()
    assert producer.calls == ["commit_transaction", "abort_transaction"]


def test_a_producer_that_is_fenced_while_records_are_handed_to_it_says_so() -> None:
    sends, producer, _ = scripted(produce=[None, AFTER_FATAL], begin_transaction=[FENCED])
    with pytest.raises(ProducerLost, match="_FENCED") as lost:
        sends.produce([("t", b"k", b"v", [])] * 3)
    assert lost.value.fenced
    assert "abort_transaction" not in producer.calls


def test_a_record_that_the_client_refuses_undoes_the_transaction() -> None:
    sends, producer, _ = scripted(produce=[None, error(KafkaError.MSG_SIZE_TOO_LARGE, aborts=True)])
    with pytest.raises(TransactionAborted):
        sends.produce([("t", b"k", b"v", [])] * 3)
    assert producer.calls == ["produce", "produce", "abort_transaction"]


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, Refusal.RECORD),
        (KafkaError.INVALID_RECORD, Refusal.RECORD),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Refusal.TOPIC),
        (KafkaError._UNKNOWN_TOPIC, Refusal.TOPIC),
        (KafkaError.UNKNOWN_MEMBER_ID, None),
    ],
)
def test_an_abort_says_whether_a_record_or_its_topic_was_refused(
    code: int, refused: Refusal | None
) -> None:
    sends, _, _ = scripted(commit_transaction=[error(code, aborts=True)])
    with pytest.raises(TransactionAborted) as aborted:
        sends.commit()
    assert aborted.value.refused is refused


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._INCONSISTENT,
        KafkaError._TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ],
)
def test_after_an_outage_a_new_producer_reads_what_is_committed_and_none_sends_from_memory(
    code: int,
) -> None:
    """An abort may have undone the transaction before it, which was acknowledged."""
    sends, producer, _ = scripted(commit_transaction=[None, error(code, aborts=True)])
    sends.commit()
    with pytest.raises(ProducerLost) as lost:
        sends.commit()
    assert not lost.value.fenced
    assert "abort_transaction" not in producer.calls, "that is for the next producer's `init`"


def test_the_abort_that_follows_a_refusal_tells_of_no_outage() -> None:
    too_large = error(KafkaError.MSG_SIZE_TOO_LARGE, aborts=True)
    out_of_order = error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, aborts=True)
    sends, _, _ = scripted(commit_transaction=[too_large, out_of_order, None, out_of_order])
    for _ in range(2):
        with pytest.raises(TransactionAborted):
            sends.commit()
    sends.commit()
    with pytest.raises(ProducerLost):
        sends.commit()


def test_remains_are_aborted_and_an_outage_meanwhile_is_still_told() -> None:
    out_of_order = error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, aborts=True)
    sends, producer, _ = scripted(commit_transaction=[out_of_order])
    sends.abort_remains(TopicPartition("positions", 0, 0), None)
    assert producer.calls == [
        "begin_transaction",
        "send_offsets_to_transaction",
        "abort_transaction",
    ]
    with pytest.raises(ProducerLost):
        sends.commit()


def test_a_record_too_large_for_the_client_is_an_abort_and_not_an_unknown_outcome() -> None:
    sends, producer, _ = scripted(produce=[error(KafkaError.MSG_SIZE_TOO_LARGE)])
    with pytest.raises(TransactionAborted, match="MSG_SIZE_TOO_LARGE"):
        sends.produce([("t", b"k", b"v", [])])
    assert producer.calls == ["produce", "abort_transaction"]


def test_a_full_client_queue_undoes_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    sends, producer, _ = scripted()

    def full(*_: object, **__: object) -> None:
        raise BufferError("Local: Queue full")

    monkeypatch.setattr(producer, "produce", full, raising=False)
    with pytest.raises(TransactionAborted, match="queue is full"):
        sends.produce([("t", b"k", b"v", [])])
    assert producer.calls == ["abort_transaction"]


class RefusingBroker:
    """
    A producer whose broker refuses values, and with them what else came in the request; then it
    aborts the next transaction too, whatever it has.
    """

    def __init__(self, refused: dict[bytes, int]) -> None:
        self.refused = refused
        self.transactions = 0
        self._waiting: list[tuple[bytes, Any]] = []
        self._is_innocent = False

    def begin_transaction(self) -> None:
        self.transactions += 1

    def produce(
        self, _topic: str, value: bytes, _key: bytes, *, headers: object, on_delivery: Any
    ) -> None:
        del headers
        self._waiting.append((value, on_delivery))

    def flush(self, _timeout: float) -> int:
        waiting, self._waiting = self._waiting, []
        codes = [self.refused[value] for value, _ in waiting if value in self.refused]
        code = codes[0] if codes else None
        if waiting and self._is_innocent:
            code, self._is_innocent = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, False
        elif code is not None:
            self._is_innocent = True
        for _, answered in waiting:
            answered(None if code is None else error(code, aborts=True), None)
        return 0

    def abort_transaction(self, _timeout: float) -> None:
        self._waiting = []


def search(numbers: int, refused: dict[bytes, int]) -> tuple[list[RefusedRecord], RefusingBroker]:
    broker = RefusingBroker(refused)
    transactions = Transactions(cast("Producer", broker), between=lambda: None)
    records: list[Produced] = [("out", b"k", str(n).encode(), []) for n in range(numbers)]
    return transactions.find_all_refused(records), broker


def test_all_records_that_are_refused_are_found_among_thousands_in_some_dozen_transactions() -> (
    None
):
    refused = {str(n).encode(): KafkaError.MSG_SIZE_TOO_LARGE for n in (0, 7, 8, 1_234, 1_999)}
    found, broker = search(2_000, refused)
    assert [record.place for record in found] == [0, 7, 8, 1_234, 1_999]
    assert {record.what for record in found} == {Refusal.RECORD}
    assert broker.transactions < 60


def test_a_search_tells_a_refused_topic_from_a_refused_record() -> None:
    found, _ = search(3, {b"1": KafkaError.TOPIC_AUTHORIZATION_FAILED})
    assert [(record.place, record.what) for record in found] == [(1, Refusal.TOPIC)]


def test_a_search_blames_nobody_for_failures_that_are_no_refusals_and_ends() -> None:
    found, broker = search(100, {b"50": KafkaError.UNKNOWN_PRODUCER_ID})
    assert found == []
    assert broker.transactions <= 6
    assert search(0, {})[0] == []


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, TransactionAborted),
        (KafkaError._MSG_TIMED_OUT, ProducerLost),
    ],
)
def test_what_is_sent_apart_ends_with_the_first_answer_that_is_none(
    code: int, wanted: type[Exception]
) -> None:
    broker = RefusingBroker({b"2": code})
    transactions = Transactions(cast("Producer", broker), between=lambda: None)
    transactions.begin()
    records: list[Produced] = [("out", b"k", str(n).encode(), []) for n in range(9)]
    with pytest.raises(wanted) as ended:
        transactions.produce_apart(records, together=2)
    if isinstance(ended.value, TransactionAborted):
        assert ended.value.refused is Refusal.RECORD
