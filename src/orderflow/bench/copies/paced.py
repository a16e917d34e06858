"""How long after its commit a payment is in both copies, at a steady rate."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from orderflow.bench.copies import load, watch
from orderflow.bench.copies.load import Written
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.postgres import Connection
from orderflow.trials import records
from orderflow.trials.harness import Access, wait_for
from orderflow.trials.latency import Percentiles
from orderflow.trials.machine import cpu_seconds
from orderflow.trials.open_loop import LAG_MAX_MS, poisson_schedule
from orderflow.trials.processes import Generator, generating, python_module

SEED = 1
THERE_WITHIN_S = 60.0


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    per_s: int
    seconds: float

    @property
    def payments(self) -> int:
        """As many as there are moments; the generator draws the same."""
        return sum(
            1 for _ in poisson_schedule(rate_per_s=self.per_s, duration_s=self.seconds, seed=SEED)
        )


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """CPU seconds of a process while payments came, and its resident memory at the end."""

    cpu_s: float
    memory_mb: float


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """
    `warehouse`, `lake`: from the answer to the commit of the producer's transaction until the
    payment is there. `seconds`: until the last was in both, which is what `costs` are of.
    """

    rate_per_s: int
    payments: int
    seconds: float
    warehouse: Percentiles
    lake: Percentiles
    generator_lag: Percentiles
    worker: Cost
    exporter: Cost

    @property
    def is_void(self) -> bool:
        return self.generator_lag.p99_ms > LAG_MAX_MS


class Copies(msgspec.Struct, frozen=True, kw_only=True):
    """Both copies while they run: how to look at them, and whose processes they are."""

    warehouse: Connection
    lake: watch.Committed
    worker_pid: int
    exporter_pid: int


def measure(copies: Copies, reached: Access, rate: Rate, *, draw: random.Random) -> Paced:
    """Raises OrderflowError when a payment is not in both copies a minute after the last."""
    events = records.payments(rate.payments, skus=load.SKUS, draw=draw)
    payments = [str(event.payment_id) for event in events]
    encoded = records.encoded(PAYMENTS.name, events, reached.registry)
    rows = watch.Rows(copies.warehouse, payments, window=max(100, 2 * rate.per_s))

    pids = (copies.worker_pid, copies.exporter_pid)
    began, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    with (
        watch.Steps(copies.lake) as steps,
        _writing(reached, rate, encoded) as writer,
    ):
        rows.look_until(writer.is_over)
        written = writer.result()
        until = time.monotonic() + THERE_WITHIN_S
        rows.look_until(lambda: rows.all_seen or time.monotonic() > until)
        wait_for(
            lambda: rows.all_seen and steps.have_passed(written),
            within_s=THERE_WITHIN_S,
            what="every payment is in both copies",
        )

    seconds = time.monotonic() - began
    worker, exporter = (
        Cost(cpu_s=cpu_seconds(pid) - cpu_s, memory_mb=memory_mb(pid))
        for pid, cpu_s in zip(pids, before, strict=True)
    )
    warehouse, lake, lag = watch.from_commit(written, payments, rows.seen_ns, steps)
    return Paced(
        rate_per_s=rate.per_s,
        payments=len(written),
        seconds=seconds,
        warehouse=warehouse.percentiles(),
        lake=lake.percentiles(),
        generator_lag=lag.percentiles(),
        worker=worker,
        exporter=exporter,
    )


def memory_mb(pid: int) -> float:
    """What of it is resident."""
    return float(psutil.Process(pid).memory_info().rss / 1e6)


@contextmanager
def _writing(
    reached: Access, rate: Rate, encoded: list[records.Record]
) -> Iterator[Generator[list[Written]]]:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "records.json"
        source.write_bytes(msgspec.json.encode(encoded))
        words = (str(rate.per_s), str(rate.seconds), str(SEED), str(source))
        command = python_module(load.__name__, reached.kafka.bootstrap_servers, *words)
        with generating(command, list[Written]) as generator:
            yield generator
