"""
Rebalances under load: whoever comes, goes or dies, each record has its effect once, and in the
order of its key.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.support.listener_probe import Probe, Worker, listener_probe
from tests.support.probe_language import asked
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

PARTITIONS = 8
KEYS = [f"key-{number}" for number in range(400)]
SLOTS = range(4)
EVERY_S = 3.0
RECORDS_PER_S = 150


class Fleet:
    """
    Workers by slot. One acts at a time: one comes, one leaves, or one is killed and restarted in
    its slot.
    """

    def __init__(self, probe: Probe, delivery: str, protocol: str) -> None:
        self.probe = probe
        self._delivery = delivery
        self._protocol = protocol
        self._workers: dict[int, Worker] = {}
        self._logs: list[Path] = []
        self.kills = 0

    def start(self, slot: int) -> None:
        worker = self.probe.worker(
            self._delivery,
            slot=slot,
            protocol=self._protocol,
            session_timeout_ms=6_000,
            back_off_s=[1.0] * 20,
            wait=False,
        )
        self._workers[slot] = worker
        self._logs.append(worker.log)

    def act(self, chance: random.Random) -> None:
        free = [slot for slot in SLOTS if slot not in self._workers]
        if free and (len(self._workers) < 2 or chance.random() < 0.5):
            self.start(free[0])
        elif chance.random() < 0.4:
            slot = chance.choice(sorted(self._workers))
            # Whoever is told to leave has to have come: before that, SIGTERM is nobody's to handle.
            eventually(
                self._workers[slot].ready.exists, within_s=30, why=f"worker {slot} has started"
            )
            assert self._workers.pop(slot).terminate() == 0
        else:
            slot = chance.choice(sorted(self._workers))
            self._workers.pop(slot).kill()
            self.kills += 1
            if self.kills % 4:
                self.start(slot)

    def handed_over(self) -> int:
        """
        How often a worker was given a partition of which something was finished above something
        unfinished.
        """
        return sum(log.read_text().count("finished records were handed over") for log in self._logs)

    def assert_alive(self) -> None:
        for worker in self._workers.values():
            assert worker.popen.poll() is None, worker.log.read_text()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("delivery", "protocols", "seconds"),
    [
        # Both at once: a protocol's session time-outs are waited for anyway.
        ("exactly-once", ("classic", "consumer"), 30),
        pytest.param("inbox-outbox", ("classic",), 60, marks=pytest.mark.soak),
        pytest.param("inbox-outbox", ("consumer",), 60, marks=pytest.mark.soak),
        pytest.param("exactly-once", ("classic",), 600, marks=pytest.mark.soak),
    ],
)
def test_workers_that_come_go_and_die_lose_nothing_and_repeat_nothing(
    stack: Stack, tmp_path: Path, delivery: str, protocols: Sequence[str], seconds: int
) -> None:
    with ExitStack() as probes:
        fleets = {}
        for protocol in protocols:
            probe = probes.enter_context(listener_probe(stack, tmp_path, partitions=PARTITIONS))
            fleets[protocol] = Fleet(probe, delivery, protocol)
            fleets[protocol].start(0)
            fleets[protocol].start(1)
        chances = {protocol: random.Random(20_260) for protocol in protocols}

        with ExitStack() as loads:
            for fleet in fleets.values():
                loads.enter_context(_loading(fleet.probe))
            began = time.monotonic()
            for turn in range(1, int(seconds / EVERY_S) + 1):
                eventually(partial(_it_is, began + turn * EVERY_S), within_s=10 * EVERY_S)
                for protocol, fleet in fleets.items():
                    fleet.act(chances[protocol])

        for protocol, fleet in fleets.items():
            fleet.assert_alive()
            fleet.probe.assert_each_once_in_order(delivery, within_s=120)
            assert fleet.kills >= 4, protocol
            assert fleet.handed_over() > 0, f"{protocol}: finished ranges were handed over"
            assert not fleet.probe.dead(), protocol


def _it_is(moment: float) -> bool:
    return time.monotonic() >= moment


@contextmanager
def _loading(probe: Probe) -> Iterator[None]:
    stop = threading.Event()
    load = threading.Thread(target=_load, args=(probe, stop))
    load.start()
    try:
        yield
    finally:
        stop.set()
        load.join(30)


def _load(probe: Probe, stop: threading.Event) -> None:
    """A second's share every 100 ms; three records in a hundred wait for 1 s to 10 s."""
    chance = random.Random(20_261)
    number = 0
    while not stop.wait(0.1):
        batch = []
        for _ in range(RECORDS_PER_S // 10):
            number += 1
            slow = chance.random() < 0.03
            behaviour = f"fail-until:{time.time() + chance.uniform(1, 10)}" if slow else ""
            batch.append(asked(chance.choice(KEYS), number, behaviour))
        probe.produce(batch)
