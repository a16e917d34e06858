"""What a process measures in the background: a failure hides the gauges, and stops nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pytest
import structlog
from prometheus_client import CollectorRegistry

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.server import Role
from orderflow.messaging.postgres import Session
from orderflow.messaging.process import measuring as module
from orderflow.messaging.process.measuring import FAILING, Measurement, Rounds, measuring
from orderflow.messaging.process.role import Launch
from orderflow.messaging.settings import DatabaseSettings, ProcessSettings
from orderflow.messaging.telemetry import MeasuredGauge
from orderflow.messaging.testing.eventually import eventually

DRIVERS_WORDS = 'connection to server at "db.internal", user "shop" failed'


class Database:
    """Stands in for a session: an answer to each question, or an error."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.answer: float | Exception = 0.0
        self.closed = False

    @contextmanager
    def transaction(self) -> Iterator[Callable[[], float]]:
        def ask() -> float:
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        yield ask

    def close(self) -> None:
        self.closed = True


def measurement(what: str) -> tuple[Measurement, MeasuredGauge]:
    gauge = MeasuredGauge("probe", "A probe.", registry=CollectorRegistry())
    measured = Measurement(
        what=what, gauges=(gauge,), measure=lambda cursor: gauge.set(cast("Any", cursor)())
    )
    return measured, gauge


def values(gauge: MeasuredGauge) -> list[float]:
    return [sample.value for family in gauge.collect() for sample in family.samples]


def failing(what: str) -> float:
    (family,) = FAILING.collect()
    return {sample.labels["what"]: sample.value for sample in family.samples}[what]


def test_a_measurement_that_fails_hides_its_gauges_until_it_succeeds() -> None:
    database, (parcels, gauge) = Database(), measurement("parcels")
    rounds = Rounds([parcels], cast("Session", database))
    database.answer = 3.0
    rounds.measure()
    assert (values(gauge), failing("parcels")) == ([3.0], 0)

    database.answer = Unavailable("away", resource="database")
    rounds.measure()
    assert (values(gauge), failing("parcels")) == ([], 1), "no old value as if it were new"

    database.answer = 0.0
    rounds.measure()
    assert (values(gauge), failing("parcels")) == ([0.0], 0)


def test_what_fails_keeps_nothing_else_from_being_measured() -> None:
    database, (letters, gauge) = Database(), measurement("letters")
    broken = Measurement(what="broken", gauges=(), measure=lambda _cursor: 1 / 0)  # type: ignore[arg-type]
    database.answer = 4.0
    Rounds([broken, letters], cast("Session", database)).measure()
    assert (values(gauge), failing("broken"), failing("letters")) == ([4.0], 1, 0)


def test_a_failure_is_logged_once_when_it_begins_and_without_the_drivers_words() -> None:
    database, (parcels, _gauge) = Database(), measurement("parcels")
    rounds = Rounds([parcels], cast("Session", database))
    with structlog.testing.capture_logs() as lines:
        for answer in (RuntimeError(DRIVERS_WORDS), RuntimeError(DRIVERS_WORDS), 1.0):
            database.answer = answer
            rounds.measure()
        database.answer = RuntimeError(DRIVERS_WORDS)
        rounds.measure()

    assert [(line["what"], line["error"]) for line in lines] == [("parcels", "RuntimeError")] * 2
    assert "db.internal" not in str(lines)


def test_a_role_measures_from_its_start_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    database, (parcels, gauge) = Database(), measurement("parcels")
    monkeypatch.setattr(module, "Session", lambda *_, **__: database)
    launch = cast("Launch[ProcessSettings]", _Launch(settings=ProcessSettings()))
    opened, closed = threading.Event(), threading.Event()
    role = Role(name="shop-api", host="127.0.0.1", port=1, start=opened.set, close=closed.set)
    database.answer = 7.0

    measured = measuring(role, [parcels], launch)
    assert not values(gauge)
    measured.start()
    eventually(lambda: values(gauge) == [7.0], within_s=5, why="it measures at once")
    measured.close()
    assert opened.is_set()
    assert closed.is_set()
    eventually(lambda: database.closed, within_s=5, why="its connection is closed")


def test_a_role_without_measurements_stays_as_it_is() -> None:
    role = Role(name="shop-api", host="127.0.0.1", port=1)
    assert measuring(role, [], cast("Launch[ProcessSettings]", None)) is role


class _Launch(msgspec.Struct):
    settings: ProcessSettings
    database: DatabaseSettings = DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"})
