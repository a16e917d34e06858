"""
Exactly once through Kafka transactions: whoever dies, stops or is doubled midway, the output is
there once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.listener_probe import Probe, Worker, listener_probe
from tests.support.service import is_stopped
from tests.support.stack import Stack

from orderflow.messaging.kafka import clients
from orderflow.messaging.testing.eventually import eventually

KEYS = [f"key-{number}" for number in range(60)]
EXACTLY_ONCE = "exactly-once"
INBOX_OUTBOX = "inbox-outbox"
INSIDE = (
    "listener.after_produce",
    "listener.before_send_offsets",
    "listener.before_commit",
    "listener.after_commit",
)
IN_THE_DATABASE = ("listener.before_database_commit", "listener.after_database_commit")
TIMES = [1, pytest.param(10, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.soak)]


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with listener_probe(stack, tmp_path) as probe:
        yield probe


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_output_before_a_kill_or_exception_is_visible_to_read_uncommitted_only(
    probe: Probe, how: str
) -> None:
    probe.produce_each(KEYS, range(3))
    worker = probe.worker(EXACTLY_ONCE, failpoints=f"listener.after_produce={how}@1", wait=False)
    eventually(
        lambda: _uncommitted(probe) > 0, within_s=60, why="the aborted records are in the log"
    )
    if how == "kill":
        assert worker.popen.wait(30) == -signal.SIGKILL
        assert not probe.outputs(), "no read_committed reader sees what was produced"
        probe.worker(EXACTLY_ONCE)
    probe.assert_each_once_in_order(EXACTLY_ONCE)
    wanted = sum(map(len, probe.produced.values()))
    assert _uncommitted(probe) > wanted, "the aborted ones are still there for who asks for them"
    assert len(probe.output_ids()) == wanted


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    ("delivery", "point"),
    [(EXACTLY_ONCE, point) for point in INSIDE]
    + [("inbox-outbox", point) for point in IN_THE_DATABASE],
)
def test_killing_one_of_two_workers_at_any_line_loses_nothing_and_repeats_nothing(
    probe: Probe, delivery: str, point: str, times: int
) -> None:
    probe.worker(delivery, slot=1, wait=False)
    for round_ in range(times):
        doomed = probe.worker(delivery, failpoints=f"{point}=kill@{1 + round_ % 3}", wait=False)
        number = 0

        def feed(doomed: Worker = doomed, round_: int = round_) -> bool:
            nonlocal number
            probe.produce_each(KEYS, [round_ * 1_000 + number])
            number += 1
            return doomed.popen.poll() is not None

        assert eventually(feed, within_s=60, every_s=0.2, why=f"the worker dies at {point}")
        assert doomed.popen.returncode == -signal.SIGKILL, doomed.log.read_text()
    probe.worker(delivery)
    probe.assert_each_once_in_order(delivery, within_s=90)
    assert not probe.dead()


@pytest.mark.parametrize(
    ("point", "protocol"),
    [
        ("listener.before_send_offsets", "classic"),
        ("listener.after_poll", "classic"),
        # The broker's session time-out for this protocol, 45 s, must pass.
        pytest.param("listener.before_send_offsets", "consumer", marks=pytest.mark.long),
        pytest.param("listener.after_poll", "consumer", marks=pytest.mark.long),
    ],
)
def test_a_worker_stopped_beyond_its_session_time_out_publishes_nothing_twice(
    probe: Probe, point: str, protocol: str
) -> None:
    settings: dict[str, Any] = {"session_timeout_ms": 6_000, "protocol": protocol}
    probe.produce_each(KEYS, range(2))
    stopped = probe.worker(EXACTLY_ONCE, failpoints=f"{point}=stop@2", wait=False, **settings)

    def feed() -> bool:
        probe.produce_each(KEYS, [len(probe.produced[KEYS[0]])])
        return is_stopped(stopped.popen.pid)

    eventually(feed, within_s=60, every_s=0.3, why="the worker is stopped in the middle")
    probe.worker(EXACTLY_ONCE, slot=1, wait=False, **settings)
    # Not by what is read: the open transaction hides that until its time is up, and then anybody
    # would be fenced.
    eventually(
        lambda: probe.unfinished() == 0,
        within_s=120,
        every_s=0.2,
        why="the other one has done all of it",
    )
    os.kill(stopped.popen.pid, signal.SIGCONT)
    eventually(lambda: stopped.is_ready, within_s=90, why="it is a member again")
    probe.produce_each(KEYS, range(1_000, 1_002))
    probe.assert_each_once_in_order(EXACTLY_ONCE, within_s=60)


def test_of_two_workers_with_one_id_the_older_one_ends_and_says_why(probe: Probe) -> None:
    older = probe.worker(EXACTLY_ONCE)
    probe.produce_each(KEYS, range(3))
    probe.assert_each_once_in_order(EXACTLY_ONCE)
    probe.worker(EXACTLY_ONCE, wait=False)

    def ended() -> bool:
        probe.produce_each(KEYS[:5], [len(probe.produced[KEYS[0]])])
        return older.popen.poll() is not None

    assert eventually(ended, within_s=90, every_s=0.5, why="the older worker ends")
    assert older.popen.returncode == 3, older.log.read_text()
    assert "runs elsewhere" in older.log.read_text()
    probe.assert_each_once_in_order(EXACTLY_ONCE)


def test_of_two_idle_workers_with_one_id_the_older_one_ends_too(probe: Probe) -> None:
    """Nobody's producer is fenced: only the group says that there are two."""
    older = probe.worker(INBOX_OUTBOX)
    newer = probe.worker(INBOX_OUTBOX, wait=False)
    assert eventually(
        lambda: older.popen.poll() is not None, within_s=90, every_s=0.5, why="the older one ends"
    )
    assert older.popen.returncode == 3, older.log.read_text()
    assert "runs elsewhere" in older.log.read_text()
    eventually(lambda: newer.is_ready, within_s=60, why="the newer one has the slot")


def _uncommitted(probe: Probe) -> int:
    """Records of the output topic as a read_uncommitted reader counts them."""
    topic = f"{probe.name}-told"
    consumer = clients.consumer(
        probe.kafka, f"{probe.name}-eye", **{"isolation.level": "read_uncommitted"}
    )
    consumer.assign(
        [clients.TopicPartition(topic, number, 0) for number in range(probe.partitions)]
    )
    count, open_ends = 0, set(range(probe.partitions))
    while open_ends:
        message = consumer.poll(5)
        assert message is not None, "the topic can be read"
        error = message.error()
        if error is None:
            count += 1
        elif error.code() == clients.KafkaError._PARTITION_EOF:
            open_ends.discard(message.partition())
    consumer.close()
    return count
