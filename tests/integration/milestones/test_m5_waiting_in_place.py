"""
Waiting in place: a record that must wait holds back its own key and nothing else, whatever happens
meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.support.listener_probe import Probe, Worker, listener_probe
from tests.support.probe_language import asked
from tests.support.stack import OwnStack, Stack

from orderflow.messaging.testing.eventually import eventually

DELIVERIES = ("exactly-once", "inbox-outbox")
OTHERS = [f"other-{number}" for number in range(200)]


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with listener_probe(stack, tmp_path) as probe:
        yield probe


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("wait_s", "records"),
    [(40, 8_000), pytest.param(120, 36_000, marks=pytest.mark.soak)],
    ids=["40s", "120s"],
)
def test_one_key_waits_while_thousands_pass_its_partition_through_a_kill(
    stack: Stack, tmp_path: Path, wait_s: int, records: int
) -> None:
    each = records // len(OTHERS) // 2
    with ExitStack() as both:
        probes = {
            name: both.enter_context(listener_probe(stack, tmp_path, partitions=1))
            for name in DELIVERIES
        }
        until = time.time() + wait_s * 0.75
        workers: dict[str, Worker] = {}
        killed = dict[str, int]()
        for name, probe in probes.items():
            probe.produce([asked("slow", 0, f"fail-until:{until}"), asked("slow", 1)])
            probe.produce_each(OTHERS, range(each))
            probe.produce([asked("slow", 2)])
            workers[name] = probe.worker(name, back_off_s=[wait_s, wait_s])
        for name, probe in probes.items():
            eventually(
                partial(_unfinished_are, probe, 3),
                within_s=wait_s,
                why=f"{name}: only slow ones wait",
            )
            assert time.time() < until, "everything else passed while it waited"
            workers[name].kill()
            killed[name] = workers[name].popen.pid
        for name, probe in probes.items():
            probe.produce_each(OTHERS, range(each, 2 * each))
            probe.produce([asked("slow", 3)])
            workers[name] = probe.worker(name, back_off_s=[wait_s, wait_s])
        for name, probe in probes.items():
            eventually(
                partial(_unfinished_are, probe, 4),
                within_s=wait_s,
                why=f"{name}: only slow ones wait again",
            )
            assert not [call for call in probe.calls() if call.key == "slow" and call.number > 0]
        for name, probe in probes.items():
            probe.assert_each_once_in_order(name, within_s=3 * wait_s)
            assert eventually(partial(_unfinished_are, probe, 0), within_s=20)
            assert workers[name].terminate() == 0
            assert workers[name].metric("orderflow_listener_window_pauses_total") == 0
            _no_finished_record_ran_again(probe, killed=killed[name])


def _unfinished_are(probe: Probe, count: int) -> bool:
    return probe.unfinished() == count


def _no_finished_record_ran_again(probe: Probe, *, killed: int) -> None:
    """
    Waves that the slow record spoilt are repeated; what was finished before the kill is not, by
    anybody.
    """
    before = {(call.key, call.number) for call in probe.calls() if call.pid == killed}
    after = Counter((call.key, call.number) for call in probe.calls() if call.pid != killed)
    assert before & set(after) == {("slow", 0)}
    assert after["slow", 0] >= 2, "it failed after the kill, too, and then ran"
    assert not probe.dead()


def test_a_handler_that_is_broken_for_everything_makes_no_dead_letters(probe: Probe) -> None:
    delivery = "exactly-once"
    probe.broken.touch()
    worker = probe.worker(delivery, back_off_s=[0.2, 0.2])
    probe.produce_each([f"key-{number}" for number in range(60)], range(5))
    eventually(lambda: worker.reasons, within_s=60, why="it says that it is not ready")
    assert "handler" in "".join(worker.reasons or [])
    more = len(probe.calls()) + 5
    eventually(lambda: len(probe.calls()) >= more, within_s=60, why="it goes on probing")
    assert not probe.dead()
    probe.broken.unlink()
    probe.assert_each_once_in_order(delivery)
    assert eventually(lambda: worker.is_ready, within_s=20)
    assert not probe.dead()


def test_a_database_that_is_off_for_fifteen_seconds_costs_no_attempt(
    own_stack: OwnStack, tmp_path: Path
) -> None:
    keys = [f"key-{number}" for number in range(100)]
    with listener_probe(own_stack, tmp_path) as probe:
        worker = probe.worker("inbox-outbox", back_off_s=[0.1, 0.1])
        probe.produce_each(keys, range(5))
        probe.assert_each_once_in_order("inbox-outbox")
        own_stack.stop("postgres")
        off_at = time.monotonic()
        probe.produce_each(keys, range(5, 10))
        eventually(lambda: worker.reasons, within_s=20, why="it says that the database is away")
        eventually(lambda: time.monotonic() - off_at > 15, within_s=30)
        own_stack.start("postgres")
        probe.assert_each_once_in_order("inbox-outbox")
        assert not probe.dead()
        assert worker.terminate() == 0
        assert worker.metric("orderflow_listener_failed_attempts_total") == 0


def test_a_resource_that_is_away_is_probed_and_everything_waits_for_it(probe: Probe) -> None:
    until = time.time() + 8
    probe.produce(asked(f"key-{number}", 0, f"away-until:{until}") for number in range(100))
    worker = probe.worker("exactly-once", back_off_s=[0.1, 0.1])
    probe.assert_each_once_in_order("exactly-once")
    assert not probe.dead()
    early = [call for call in probe.calls() if call.number == 0]
    assert len(early) <= 100 + 100 + 12, "after the first wave, one record per probe"
    assert worker.terminate() == 0
    assert worker.metric("orderflow_listener_failed_attempts_total") == 0
