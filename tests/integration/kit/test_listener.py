"""
What the container promises for both deliveries, judged by the topic, the database and a diary of
the handler.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.listener_probe import Probe, header, listener_probe
from tests.support.probe_language import Ignored, asked
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

BOTH = pytest.mark.parametrize("delivery", ["exactly-once", "inbox-outbox"])
# Of these the other delivery is proved in memory, in tests/unit/messaging/container.
EXACTLY_ONCE = pytest.mark.parametrize("delivery", ["exactly-once"])
INBOX_OUTBOX = pytest.mark.parametrize("delivery", ["inbox-outbox"])
KEYS = [f"key-{number}" for number in range(20)]


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with listener_probe(stack, tmp_path) as probe:
        yield probe


@BOTH
def test_every_record_has_its_effect_once_in_order_and_idle_lag_is_zero(
    probe: Probe, delivery: str
) -> None:
    probe.produce_each(KEYS, range(50))
    worker = probe.worker(delivery)
    probe.assert_each_once_in_order(delivery)
    assert eventually(lambda: probe.lag() == 0, within_s=15, why="idle lag reads 0")
    assert worker.terminate() == 0
    assert len(probe.calls()) == sum(map(len, probe.produced.values()))


@EXACTLY_ONCE
def test_a_record_that_fails_alone_becomes_a_dead_letter_and_its_neighbours_do_not(
    probe: Probe, delivery: str
) -> None:
    probe.produce_each(KEYS, range(10))
    probe.produce([asked("key-3", 10, "fail")])
    probe.produce_each(KEYS, range(11, 20))
    worker = probe.worker(delivery, back_off_s=[0.5, 1.0])
    bad = probe.produced["key-3"][10]
    probe.assert_each_once_in_order(delivery, without=[bad], within_s=30)
    (dead,) = eventually(probe.dead, within_s=20, why="the dead letter is there")
    assert header(dead, "ce_id") == bad
    assert len([call for call in probe.calls() if call.key == "key-3" and call.number == 10]) >= 3
    assert worker.terminate() == 0
    assert worker.metric("orderflow_listener_failed_attempts_total") == 3, "nobody else is charged"


@INBOX_OUTBOX
def test_a_line_tells_of_each_record_what_became_of_it_and_of_none_twice(
    probe: Probe, delivery: str
) -> None:
    once = asked("key-0", 0)
    event_id = probe.produce_one(once, partition=1)
    probe.produce_one(once, event_id=event_id, partition=1)
    probe.produce_one(Ignored(id="key-1", number=1, at=once.at), partition=1)
    probe.produce_one(asked("key-2", 2, "dead"), partition=1)
    probe.send(b"\xff", b"no event", None, 1)
    worker = probe.worker(delivery)
    eventually(lambda: len(worker.record_lines()) >= 5, within_s=30, why="each record has its line")
    assert worker.terminate() == 0
    assert sorted(
        (line["offset"], line["key"], line["event"], line["outcome"])
        for line in worker.record_lines()
    ) == [
        (0, "key-0", "Asked", "handled"),
        (1, "key-0", "Asked", "repeat"),
        (2, "key-1", "Ignored", "skipped"),
        (3, "key-2", "Asked", "dead letter"),
        (4, "\\xff", None, "dead letter"),
    ]
    places = {(line["topic"], line["partition"], line["group"]) for line in worker.record_lines()}
    assert places == {(probe.name, 1, probe.group)}


@BOTH
def test_records_finished_beside_a_waiting_one_are_not_handled_again_after_a_kill(
    probe: Probe, delivery: str
) -> None:
    probe.produce([asked("slow", 0, "fail")])
    probe.produce_each(KEYS, range(5))
    killed = probe.worker(delivery, back_off_s=[60.0])
    eventually(lambda: probe.unfinished() == 1, within_s=30, why="only the slow one waits")
    killed.kill()
    successor = probe.worker(delivery, back_off_s=[])
    (bad,) = probe.produced["slow"]
    (dead,) = eventually(
        probe.dead, within_s=30, why="the successor, which waits for nothing, has given it up"
    )
    assert header(dead, "ce_id") == bad
    probe.assert_each_once_in_order(delivery, without=[bad], within_s=10)
    assert successor.terminate() == 0
    assert {call.key for call in probe.calls() if call.pid == successor.popen.pid} == {"slow"}
    assert successor.metric("orderflow_inbox_repeats_total") == 0


@EXACTLY_ONCE
def test_while_a_dead_letter_topic_is_missing_good_records_commit_and_the_letter_follows(
    probe: Probe, delivery: str
) -> None:
    probe.delete_dead_letter_topic()
    probe.produce([asked("bad", 0, "dead")])
    probe.produce_each(KEYS, range(5))
    worker = probe.worker(delivery, wait=False)
    probe.assert_each_once_in_order(delivery, without=probe.produced["bad"], within_s=13)
    eventually(
        lambda: any(probe.dlt in reason for reason in worker.reasons or ()),
        within_s=5,
        why="the worker says which topic is missing",
    )

    probe.create_dead_letter_topic()
    (dead,) = eventually(probe.dead, within_s=15, why="the letter is written")
    assert [header(dead, "ce_id")] == probe.produced["bad"]
    eventually(lambda: worker.is_ready, within_s=15, why="the worker is ready")
    eventually(lambda: probe.lag() == 0, within_s=15, why="idle lag reads 0")
    assert worker.terminate() == 0
    assert worker.metric("orderflow_listener_producer_renewals_total") == 0
