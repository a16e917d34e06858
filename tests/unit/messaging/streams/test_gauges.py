"""What is restored is exported from its beginning to its end, and then as 0."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from orderflow.messaging.streams import gauges
from orderflow.messaging.streams.local_state import LocalState, Progress, Task, TaskState
from orderflow.messaging.streams.store.store import StoreReader
from orderflow.messaging.telemetry import ComputedGauge
from orderflow.messaging.testing.memory_clock import MemoryClock


def task(number: int, state: TaskState, **more: Any) -> Task:
    reader = cast("StoreReader", None)
    return Task(table="shops", partition=number, state=state, reader=reader, input=0, **more)


def exported(registry: CollectorRegistry) -> dict[str, float]:
    text = generate_latest(registry).decode()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {name.removesuffix('{listener="shops"}'): float(value) for name, value in lines}


def test_a_restore_is_exported_from_its_beginning_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, clock, local = CollectorRegistry(), MemoryClock(), LocalState()
    for name in ("RESTORING", "OLDEST_S", "RECORDS_LEFT"):
        fresh = ComputedGauge(name.lower(), "A probe.", ["listener"], registry=registry)
        monkeypatch.setattr(gauges, name, fresh)
    assert exported(registry) == {}, "a process without tables exports nothing of them"

    gauges.export("shops", local, clock=clock)
    local.put(task(0, TaskState.ACTIVE))
    since, progress = clock.monotonic(), Progress(done=30, total=100, per_s=1.0)
    local.put(task(1, TaskState.RESTORING, restoring_since=since, progress=progress))
    clock.advance(20)
    local.put(task(2, TaskState.RESTORING, restoring_since=clock.monotonic()))
    clock.advance(10)
    assert exported(registry) == {
        "orderflow_restoring": 2,
        "orderflow_oldest_s": 30,
        "orderflow_records_left": 70,
    }

    for number in (1, 2):
        local.put(task(number, TaskState.ACTIVE))
    assert set(exported(registry).values()) == {0}


def test_what_can_not_be_read_is_not_exported() -> None:
    registry = CollectorRegistry()
    gauge = ComputedGauge("probe", "A probe.", registry=registry)
    gauge.follow(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert generate_latest(registry) == b""
