"""
A broker that is away: listeners report it, wait and continue; no record is lost, repeated or
charged an attempt.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.listener_probe import Probe, Worker, listener_probe
from tests.support.stack import OwnStack

from orderflow.messaging.testing.eventually import eventually

DELIVERIES = ("exactly-once", "inbox-outbox")
KEYS = [f"key-{number}" for number in range(100)]
OFF_S = 20.0


@pytest.mark.long  # In each run brokers are away under all services: `test_outages_of_the_whole`.
def test_a_broker_that_is_away_for_twenty_seconds_costs_nothing_but_time(
    own_stack: OwnStack, tmp_path: Path
) -> None:
    """
    Goal: a broker that is killed under load delays records and does nothing else to them.

    Method: a listener of each delivery is at work when the broker is killed with SIGKILL. The
    broker stays away for 20 seconds, starts again, and more records follow. Every record must have
    one effect, in the order of its key; no dead letter, no failed attempt, and an orderly end.
    """
    with ExitStack() as both:
        probes = {
            name: both.enter_context(listener_probe(own_stack, tmp_path)) for name in DELIVERIES
        }
        workers: dict[str, Worker] = {}
        for name, probe in probes.items():
            workers[name] = probe.worker(name)
            probe.produce_each(KEYS, range(40))

        os.kill(own_stack.pid("kafka"), signal.SIGKILL)
        own_stack.stop("kafka")
        off_at = time.monotonic()
        for name, worker in workers.items():
            eventually(lambda w=worker: w.reasons, within_s=20, why=f"{name} reports what is away")  # type: ignore[misc]
        eventually(lambda: time.monotonic() - off_at > OFF_S, within_s=2 * OFF_S)
        own_stack.start("kafka")

        for name, probe in probes.items():
            _continues(probe, name)
        for worker in workers.values():
            assert worker.terminate() == 0, worker.log.read_text()
            assert worker.metric("orderflow_listener_failed_attempts_total") == 0


def _continues(probe: Probe, delivery: str) -> None:
    probe.produce_each(KEYS, range(40, 45))
    probe.assert_each_once_in_order(delivery, within_s=90)
    assert not probe.dead()
