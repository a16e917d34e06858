"""A relay that waits for the brokers is degraded; one that never streamed is not ready."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orderflow.messaging.errors import Stopped, Unavailable
from orderflow.messaging.relay import relay as module
from orderflow.messaging.relay.relay import Relay
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.messaging.work.reasons import split

SETTINGS = RelaySettings(
    service="probe",
    database=DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"}),
    kafka=KafkaSettings(),
)
AWAY = {
    resource: Unavailable(f"{resource} at 10.1.2.3 said no", resource=resource)
    for resource in ("broker", "database")
}


@pytest.mark.parametrize(
    ("lost", "against", "degraded"),
    [
        ("broker", [], ["relay waiting: broker: away"]),
        ("database", ["relay waiting: database: away"], []),
    ],
)
def test_a_relay_that_has_streamed_is_degraded_only_while_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch, lost: str, against: list[str], degraded: list[str]
) -> None:
    relay, seen = run_with(monkeypatch, failures=[None, AWAY[lost]])
    assert seen == [(["relay starting"], []), (against, degraded)]
    assert relay.reasons() == ["relay stopped"]


def test_a_relay_that_never_streamed_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    _, seen = run_with(monkeypatch, failures=[AWAY["broker"], AWAY["broker"]])
    assert seen[-1] == (["relay waiting: broker: away"], [])


def run_with(
    monkeypatch: pytest.MonkeyPatch, *, failures: list[Unavailable | None]
) -> tuple[Relay, list[tuple[list[str], list[str]]]]:
    """
    Each failure ends a session: None after it has streamed, and the session after it at once. What
    is said is noted as each session opens.
    """
    stop = threading.Event()
    relay = Relay(SETTINGS)
    seen: list[tuple[list[str], list[str]]] = []

    class Session:
        position = 1
        held = 0
        stream: Any = type("Stream", (), {"wal_end": 1, "backend_pid": 1})()

        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            seen.append(split(relay.reasons()))
            if not failures:
                stop.set()
                raise Stopped("enough")

        def open(self, **_options: Any) -> None:
            failure = failures.pop(0)
            if failure is not None:
                raise failure

        def close(self) -> None: ...

    class FailingReader:
        def __init__(self, *_arguments: Any, **_options: Any) -> None: ...
        def next_batch(self) -> Any:
            failure = failures.pop(0)
            assert failure is not None
            raise failure

    monkeypatch.setattr(module, "RelaySession", Session)
    monkeypatch.setattr(module, "BatchReader", FailingReader)
    relay.run(stop)
    return relay, seen
