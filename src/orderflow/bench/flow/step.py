"""One rate, measured: orders are posted at it for so long, until everything is through."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from orderflow.bench.flow.load import Load, Way, loading, the_way
from orderflow.bench.flow.poster import PostTask
from orderflow.bench.flow.subject import Subject
from orderflow.bench.flow.usage import Snapshot, Used, snapshot
from orderflow.bench.flow.work_done import WorkDone

NOTHING_CAME_S = 20.0
LAG_MAX_SHARE = 0.1
LAG_MAX_MS = 2.0
FOREIGN_MAX = 0.1


class Clients(msgspec.Struct, frozen=True, kw_only=True):
    """Whose orders they are, over how many connections, and whether at random moments."""

    customers: int = 10_000
    connections: int = 256
    is_poisson: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """
    One rate. `used`: by component, from the first request until all was through.

    `cpu_ms_per_order` is that of all components, the generator not counted; None where nobody
    counts. `foreign_cores`: what the machine worked beside them and the generator, in cores.
    `generator`: CPU of poster and watcher. A step is void when requests were sent late, or when
    something else took the cores.
    """

    rate_per_s: int
    way: Way
    used: dict[str, Used]
    work: WorkDone | None
    generator_cores: float
    foreign_cores: float
    elapsed_s: float

    @property
    def cpu_ms_per_order(self) -> float | None:
        cpu_s = sum(each.cpu_s for each in self.used.values())
        return 1e3 * cpu_s / self.way.posted if self.used else None

    @property
    def why_void(self) -> str:
        lag, whole = self.way.generator_lag.p99_ms, self.way.whole.p99_ms
        if lag > max(LAG_MAX_MS, LAG_MAX_SHARE * whole):
            return f"requests were sent {lag:.0f} ms late at p99"
        # Of a flow elsewhere we do not know which processes are its own.
        if self.used and self.foreign_cores > FOREIGN_MAX:
            return f"something else took {self.foreign_cores:.2f} cores"
        return ""

    def __str__(self) -> str:
        way, cpu_ms = self.way, self.cpu_ms_per_order
        verdict = "sustained" if way.is_sustained else "not sustained"
        return (
            f"{self.rate_per_s}/s: {verdict}, p50 {way.whole.p50_ms:.0f} ms, p99 "
            f"{way.whole.p99_ms:.0f} ms"
            + ("" if cpu_ms is None else f", {cpu_ms:.2f} ms of CPU an order")
            + (f" (void: {self.why_void})" if self.why_void else "")
        )


def measure(subject: Subject, clients: Clients, *, rate: int, seconds: float, seed: int) -> Step:
    """Post at this rate for so long, then wait until everything is through, or nothing comes."""
    task = PostTask(
        urls=[subject.url],
        skus=subject.skus,
        customers=clients.customers,
        rate_per_s=rate,
        seconds=seconds,
        is_poisson=clients.is_poisson,
        connections=clients.connections,
        seed=seed,
    )

    # What asks the broker and the database takes seconds: before and after what is measured.
    before = subject.work_done()
    with (
        _directory() as directory,
        loading(task, subject.flow, subject.bootstrap_servers, directory) as load,
    ):
        step = _measure(load, subject, rate, seconds)
    after = subject.work_done()
    if before is None or after is None:
        return step
    return msgspec.structs.replace(step, work=after.since(before))


def _measure(load: Load, subject: Subject, rate: int, seconds: float) -> Step:
    before, own_s = _snapshot(subject), time.process_time()
    while not load.is_posted:
        subject.turn()
    posting = load.posted()
    _wait_until_through(load, subject, sum(bool(order.order_id) for order in posting.orders))

    after, own_s = _snapshot(subject), time.process_time() - own_s
    seen = load.seen()
    elapsed_s = after.at_s - before.at_s
    # What was started meanwhile has begun at nothing.
    used = {name: spent.since(before.used.get(name, Used())) for name, spent in after.used.items()}
    generator_s = posting.cpu_s + seen.cpu_s + own_s
    known_s = sum(each.cpu_s for each in used.values()) + generator_s
    return Step(
        rate_per_s=rate,
        way=the_way(posting.orders, seen, flow=subject.flow, seconds=seconds),
        used=used,
        work=None,
        generator_cores=generator_s / elapsed_s,
        foreign_cores=max(0.0, after.busy_s - before.busy_s - known_s) / elapsed_s,
        elapsed_s=elapsed_s,
    )


def _wait_until_through(load: Load, subject: Subject, wanted: int) -> None:
    """Until all orders are through, or none has come for 20 s."""
    reached, deadline = load.through(), time.monotonic() + NOTHING_CAME_S
    while reached < wanted and time.monotonic() < deadline:
        subject.turn()
        if load.through() > reached:
            reached, deadline = load.through(), time.monotonic() + NOTHING_CAME_S


def _snapshot(subject: Subject) -> Snapshot:
    return snapshot(subject.pids(), at_s=time.monotonic())


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="orderflow-private-") as directory:
        yield Path(directory)
