"""The memory of each process while orders pass: does it grow with time?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from orderflow.bench.flow.subject import Subject
from orderflow.bench.flow.usage import memory_mib
from orderflow.bench.flow.work_done import WorkDone


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """
    Of a process with its children. `mib_per_minute`: the slope of the line that fits the samples of
    the second half best: the first half fills caches.
    """

    first_mib: float
    last_mib: float
    most_mib: float
    mib_per_minute: float


class Watched:
    """A subject that is looked at while it is measured, every `every_s`."""

    def __init__(self, subject: Subject, *, every_s: float) -> None:
        self._subject = subject
        self._every_s = every_s
        self._next_at = 0.0
        self._samples: dict[str, list[tuple[float, float]]] = {}
        self.url, self.skus, self.flow = subject.url, subject.skus, subject.flow
        self.bootstrap_servers = subject.bootstrap_servers

    def turn(self) -> None:
        self._subject.turn()
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + self._every_s
            for name, pid in self.pids().items():
                self._samples.setdefault(name, []).append((now, memory_mib(pid)))

    def pids(self) -> dict[str, int]:
        return self._subject.pids()

    def work_done(self) -> WorkDone | None:
        return self._subject.work_done()

    def memory(self) -> dict[str, Memory]:
        """By component, of all samples; those that were seen less than twice are left out."""
        return {
            name: memory_of(samples) for name, samples in self._samples.items() if len(samples) > 1
        }


def memory_of(samples: Sequence[tuple[float, float]]) -> Memory:
    """Of moments in seconds and MiB, two at least."""
    sizes = [size for _, size in samples]
    return Memory(
        first_mib=sizes[0],
        last_mib=sizes[-1],
        most_mib=max(sizes),
        mib_per_minute=60 * slope(samples[len(samples) // 2 - 1 :]),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line of least squares; 0 when all are at one place."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
