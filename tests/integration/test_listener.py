"""What the container promises for both deliveries, judged by the topic, the database and a diary of the handler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.listener_probe import Probe, header, listener_probe
from tests.support.probe_language import asked
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

BOTH = pytest.mark.parametrize("delivery", ["exactly-once", "inbox-outbox"])
KEYS = [f"key-{number}" for number in range(20)]


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with listener_probe(stack, tmp_path) as one:
        yield one


@BOTH
def test_every_record_has_its_effect_once_in_order_and_idle_lag_is_zero(probe: Probe, delivery: str) -> None:
    probe.ask_each(KEYS, range(50))
    worker = probe.worker(delivery)
    probe.assert_each_once_in_order(delivery)
    assert eventually(lambda: probe.lag() == 0, within_s=15, why="idle lag reads 0")
    assert worker.terminate() == 0
    assert len(probe.calls()) == sum(map(len, probe.produced.values()))


@BOTH
def test_a_record_that_fails_alone_becomes_a_dead_letter_and_its_neighbours_do_not(probe: Probe, delivery: str) -> None:
    probe.ask_each(KEYS, range(10))
    probe.ask([asked("key-3", 10, "fail")])
    probe.ask_each(KEYS, range(11, 20))
    probe.worker(delivery, back_off_s=[0.5, 1.0])
    bad = probe.produced["key-3"][10]
    probe.assert_each_once_in_order(delivery, without=[bad])
    (dead,) = eventually(probe.dead, within_s=20, why="the dead letter is there")
    assert header(dead, "ce_id") == bad
    assert len([call for call in probe.calls() if call.key == "key-3" and call.number == 10]) >= 3
