"""
The desk on the real broker: what it shows, what it sends, and what it leaves when it dies or meets
another one. Whatever happens, a scan of the logs finds one copy of each letter, and the balance
holds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from tests.support.connect_letters import connect_headers
from tests.support.dead_letters import EXIT_FENCED, LetterBox, dead_letter, letter_box
from tests.support.stack import Stack

from orderflow.messaging.dead_letters import desk_session
from orderflow.messaging.dead_letters.desk import LetterGone
from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import ANY, LetterBalance, LetterFilter
from orderflow.messaging.dead_letters.replay_plan import DeskProgress, DeskReport, Held
from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.transactions import ProducerLost, Transactions

KILLED = -9
LINES = (
    "desk.before_fence",
    "desk.after_fence",
    "desk.after_produce",
    "desk.before_commit",
    "desk.after_commit",
)


@pytest.fixture
def box(stack: Stack) -> Iterator[LetterBox]:
    with letter_box(stack) as box:
        yield box


def replay(box: LetterBox, letter_filter: LetterFilter = ANY, **rules: int) -> DeskReport:
    return box.desk.replay(letter_filter, by="ada", reason="mended", **rules)  # type: ignore[arg-type]


def balance(box: LetterBox) -> tuple[int, int, int]:
    """Replayed, discarded, open; and each letter is one of these."""
    [row] = box.desk.balance()
    assert row.difference == row.other == 0
    return row.replayed, row.discarded, row.open


def fail_in_pairs(box: LetterBox, count: int) -> None:
    """Letters of as many records, two of each key, the later one first."""
    box.write(
        dead_letter(box.topic, box.group, offset ^ 1, key=b"key-%d" % (offset // 2))
        for offset in range(count)
    )


def assert_each_once_in_order(box: LetterBox, offsets: range) -> None:
    sent = box.replayed()
    assert sorted(sent) == [*offsets]
    assert all(sent.index(offset) < sent.index(offset + 1) for offset in offsets[::2])


def test_what_the_desk_shows(box: LetterBox) -> None:
    box.fail(3, 5)
    box.fail(7, key=b"another", replays=3)
    assert [it.evidence.original_offset for it in box.desk.letters()] == [3, 5, 7]
    [row] = box.desk.summary()
    assert (row.letters, row.orders, row.parked, row.cause) == (3, 2, 1, "RecordFault")
    letter = box.desk.find(LetterId(box.dlt, 0, 1))
    assert (letter.evidence.event_id, letter.value) == ("event-5", b"v")
    for gone in (2, 99):
        with pytest.raises(LetterGone):
            box.desk.find(LetterId(box.dlt, 0, gone))
    assert box.desk.balance() == [LetterBalance(group=box.group, letters=3, open=3)]

    # A group that nobody announced, on the same topic.
    follower = f"{box.topic}.follower.dlt"
    box.create(follower)
    box.write([dead_letter(box.topic, "follower", 3)])
    assert [it.group for it in box.desk.letters()] == ["follower", *[box.group] * 3]
    assert [*box.desk.letters(LetterFilter(group="nobody"))] == []
    box.delete(follower)

    box.admin.delete_records([TopicPartition(box.dlt, 0, 1)])[TopicPartition(box.dlt, 0)].result(30)
    with pytest.raises(LetterGone, match="retention"):
        box.desk.find(LetterId(box.dlt, 0, 0))


def test_a_replay_sends_the_record_as_it_was_and_says_who_decided(box: LetterBox) -> None:
    own = [("ce_id", b"event-3"), ("ce_type", b"shop.Ordered"), ("ce_correlationid", b"k")]
    more = [("twice", b"1"), ("twice", None), ("orderflow-unknown", b"\xff")]
    box.write([dead_letter(box.topic, box.group, 3, value=b"\x00\xff", replays=1, more=more)])
    box.fail(4, key=b"parked", replays=3)
    plan = box.desk.plan_replay()
    assert (plan.to_send, plan.held) == ({box.replay: 1}, {Held.PARKED: 1})
    assert box.records(box.replay) == [], "a plan changes nothing"

    report = replay(box)
    assert (report.done, report.held, report.transactions) == (1, {Held.PARKED: 1}, 1)
    [copy] = box.records(box.replay)
    assert (copy.key, copy.value) == (b"k", b"\x00\xff")
    assert copy.headers[: len(own) + len(more)] == own + more
    added = dict(copy.headers[len(own) + len(more) :])
    assert added["kafka_dlt-original-topic"] == box.topic.encode()
    assert added["kafka_dlt-original-offset"] == (3).to_bytes(8, "big")
    assert added["orderflow-replay-count"] == b"2"
    assert added["orderflow-replay-of"] == f"{box.dlt}/0/0".encode()
    assert not any(name.startswith("kafka_dlt-exception") for name in added)

    disposition = box.desk.find(LetterId(box.dlt, 0, 0)).disposition
    assert disposition == Disposition(
        kind=DispositionKind.REPLAYED,
        by="ada",
        reason="mended",
        at=disposition.at if disposition else None,  # type: ignore[arg-type]
        replays=2,
        replayed_to=box.replay,
    )

    with pytest.raises(ConfigurationError, match="reason"):
        box.desk.discard(ANY, by="ada", reason=" ")
    with pytest.raises(ConfigurationError, match="who"):
        box.desk.replay(ANY, by="", reason="x")
    assert box.desk.discard(ANY, by="ada", reason="a test order").done == 1
    assert balance(box) == (1, 1, 0)
    assert replay(box, replays_max=9).done == 0, "what is discarded is not sent"


def test_replaying_everything_twice_changes_nothing_twice(box: LetterBox) -> None:
    fail_in_pairs(box, 1_200)
    assert replay(box, max_letters=1_000).beyond_max == 200
    assert (replay(box).done, replay(box).done) == (200, 0)
    assert_each_once_in_order(box, range(1_200))
    assert balance(box) == (1_200, 0, 0)
    named = LetterFilter(ids=frozenset({LetterId(box.dlt, 0, 0), LetterId(box.dlt, 0, 10**9)}))
    assert replay(box, named).held == {Held.DEALT_WITH: 1, Held.GONE: 1}


def test_a_letter_does_not_overtake_an_older_one_of_its_key(box: LetterBox) -> None:
    box.fail(8, 5, 6, key=b"a")
    box.fail(7, key=b"b")
    young = LetterFilter(ids=frozenset(LetterId(box.dlt, 0, offset) for offset in (0, 2, 4)))
    report = replay(box, young)
    assert (report.done, report.held) == (1, {Held.OLDER_OPEN: 2})
    assert {it.older for it in report.letters} == {LetterId(box.dlt, 0, 1)}
    assert replay(box, young, keep_order=False).done == 2
    assert box.replayed() == [7, 6, 8]


def test_stop_is_heard_between_transactions(
    box: LetterBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_session, "LETTERS_MAX", 2)
    fail_in_pairs(box, 6)
    heard: list[DeskProgress] = []
    report = box.desk.replay(
        ANY, by="ada", on_progress=heard.append, stop=lambda: heard[-1].done >= 4
    )
    assert (report.done, report.stopped, report.left, report.transactions) == (4, True, 2, 2)
    assert [(it.done, it.total) for it in heard] == [(0, 6), (2, 6), (4, 6)]
    assert balance(box) == (4, 0, 2)


@pytest.mark.parametrize("line", LINES)
def test_a_desk_killed_at_any_line_sends_nothing_twice_and_loses_nothing(
    box: LetterBox, tmp_path: Path, line: str
) -> None:
    fail_in_pairs(box, 12)
    of_a_transaction = line in LINES[2:]
    for at in (1, 2) if of_a_transaction else (1,):
        worker = box.start_worker("replay", tmp_path, failpoints=f"{line}=kill@{at}")
        assert worker.wait() == KILLED, worker.log.read_text()
    replayed, discarded, is_open = balance(box)
    assert (replayed + is_open, discarded) == (12, 0)

    assert box.start_worker("replay", tmp_path).wait() == 0
    assert_each_once_in_order(box, range(12))
    assert balance(box) == (12, 0, 0)
    assert [record.key for record in box.records(box.dispositions)] == list(
        dict.fromkeys(record.key for record in box.records(box.dispositions))
    )


@pytest.mark.parametrize("line", LINES)
def test_a_desk_that_stood_still_while_another_one_worked_sends_nothing_twice(
    box: LetterBox, tmp_path: Path, line: str
) -> None:
    fail_in_pairs(box, 12)
    first = box.start_worker("replay", tmp_path, failpoints=f"{line}=stop@1")
    first.wait_until_stopped()
    assert box.start_worker("replay", tmp_path).wait() == 0
    first.go_on()
    # One that had nothing under way finds that nothing is left to do.
    expected = EXIT_FENCED if line in LINES[2:] else 0
    assert first.wait() == expected, first.log.read_text()
    assert_each_once_in_order(box, range(12))
    assert balance(box) == (12, 0, 0)


def test_desks_that_begin_together_send_each_letter_once(box: LetterBox, tmp_path: Path) -> None:
    fail_in_pairs(box, 400)
    acts = ("replay", "discard", "replay")
    codes = [worker.wait() for worker in [box.start_worker(act, tmp_path) for act in acts]]
    assert set(codes) <= {0, EXIT_FENCED}
    assert 0 in codes
    replayed, discarded, is_open = balance(box)
    assert (replayed + discarded, is_open) == (400, 0)
    assert len(box.replayed()) == len(set(box.replayed())) == replayed


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_without_an_answer_is_looked_up_and_not_sent_again(
    box: LetterBox, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    fail_in_pairs(box, 6)
    commit, answers_lost = Transactions.commit, [True]

    def unanswered(self: Transactions) -> None:
        if not answers_lost:
            commit(self)
            return
        answers_lost.clear()
        if committed:
            commit(self)
        raise ProducerLost("the answer was lost", fenced=False)

    monkeypatch.setattr(Transactions, "commit", unanswered)
    assert replay(box).done == 6
    assert_each_once_in_order(box, range(6))
    assert balance(box) == (6, 0, 0)


def test_what_an_open_transaction_hides_is_waited_for(
    box: LetterBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.fail(1, 2)
    monkeypatch.setattr(desk_session, "STABLE_WITHIN_S", 0.5)
    other = clients.transactional_producer(box.kafka, f"{box.topic}.other")
    other.init_transactions(30)
    other.begin_transaction()
    other.produce(box.dispositions, b'{"kind":"DISCARDED"}', f"{box.dlt}/0/0")
    other.flush(30)
    with pytest.raises(Unavailable, match="nothing was changed"):
        replay(box)
    other.commit_transaction(30)
    assert replay(box).done == 1
    assert (box.replayed(), balance(box)) == ([2], (1, 1, 0))


def test_a_copy_that_the_brokers_undid_leaves_its_letter_open(box: LetterBox) -> None:
    """As after an outage, for which the records are deleted here."""
    fail_in_pairs(box, 4)

    def undo(progress: DeskProgress) -> None:
        if progress.done:
            below = TopicPartition(box.replay, 0, 2)
            box.admin.delete_records([below])[below].result(30)

    report = box.desk.replay(ANY, by="ada", on_progress=undo)
    assert (report.done, report.undone) == (2, 2)
    assert balance(box) == (2, 0, 2)
    assert replay(box).done == 2
    assert balance(box) == (4, 0, 0)


@pytest.mark.parametrize("missing", ["replay", "dispositions"])
def test_a_topic_that_is_missing_is_said_and_nothing_has_changed(
    box: LetterBox, missing: str
) -> None:
    fail_in_pairs(box, 4)
    topic = getattr(box, missing)
    box.delete(topic)
    with pytest.raises(ConfigurationError, match=f"no topic {topic}.*nothing was changed"):
        replay(box)
    assert box.desk.plan_replay().missing == (topic,)
    assert balance(box) == (0, 0, 4)
    if missing == "replay":
        assert box.desk.discard(ANY, by="ada", reason="nobody wants them").done == 4


def test_a_copy_that_the_broker_refuses_stays_open_with_its_key_and_all_others_go(
    box: LetterBox,
) -> None:
    limit = ConfigEntry("max.message.bytes", "4000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, box.replay, incremental_configs=[limit])
    box.admin.incremental_alter_configs([resource])[resource].result(30)
    large = random.Random(1).randbytes(16_000)
    box.write(
        [
            dead_letter(box.topic, box.group, 1, key=b"a"),
            dead_letter(box.topic, box.group, 2, key=b"b", value=large),
            dead_letter(box.topic, box.group, 3, key=b"b"),
            dead_letter(box.topic, box.group, 4, key=b"c"),
        ]
    )
    report = replay(box)
    assert (report.done, report.held) == (2, {Held.REFUSED: 1, Held.OLDER_OPEN: 1})
    assert box.replayed() == [1, 4]
    assert balance(box) == (2, 0, 2)


def test_letters_of_kafka_connect_go_the_way_of_our_own(box: LetterBox) -> None:
    """
    They are written outside of transactions. A copy that fails again comes back from the replay
    topic, and is parked after three times; two letters of one record are two.
    """
    own = [("ce_id", b"event-4"), ("ce_type", b"shop.Ordered"), ("x-raw", b"\0\xff")]
    fail(box, connect_headers(own, topic=box.topic, connector=box.group, offset=4))
    fail(box, connect_headers(own, topic=box.topic, connector=box.group, offset=4))
    first, twin = box.desk.letters()
    assert (first.group, first.evidence.event_type, first.evidence.attempts) == (
        box.group,
        "shop.Ordered",
        None,
    )
    box.desk.discard(LetterFilter(ids=frozenset({twin.id})), by="ada", reason="the same record")

    for sent in (1, 2, 3):
        assert replay(box).by_topic == {box.replay: 1}
        copy = box.records(box.replay)[-1]
        assert copy.headers[: len(own)] == own
        assert (copy.key, copy.value) == (first.key, first.value)
        fail(
            box,
            connect_headers(
                copy.headers,
                topic=box.replay,
                connector=box.group,
                partition=copy.partition,
                offset=copy.offset,
            ),
        )
        [letter] = box.desk.letters()
        assert (letter.evidence.replays, letter.evidence.original_topic) == (sent, box.topic)
        assert letter.evidence.original_offset == 4

    assert replay(box).held == {Held.PARKED: 1}
    assert replay(box, replays_max=4).done == 1
    assert balance(box) == (4, 1, 0)
    assert box.replayed() == [4, 4, 4, 4]


def fail(box: LetterBox, headers: Sequence[tuple[str, bytes | None]]) -> None:
    """As Connect's producer writes: without a transaction, with the record's own time."""
    producer = clients.producer(box.kafka)
    producer.produce(box.dlt, b"?", b"k", headers=[*headers], timestamp=1_769_850_000_000)
    assert producer.flush(30) == 0
