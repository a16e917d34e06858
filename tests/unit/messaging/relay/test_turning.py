"""A relay that hangs is not ready, whatever it hangs in."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orderflow.messaging.errors import Stopped
from orderflow.messaging.relay import relay as module
from orderflow.messaging.relay.relay import TURNS_WITHIN_S, Relay
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.messaging.testing.memory_clock import MemoryClock

SETTINGS = RelaySettings(
    service="probe",
    database=DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"}),
    kafka=KafkaSettings(),
)


def test_a_relay_whose_session_does_not_come_about_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, stop = MemoryClock(), threading.Event()
    relay = Relay(SETTINGS, clock=clock)
    seen: list[list[str]] = []

    class HangingSession:
        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            clock.advance(TURNS_WITHIN_S + 1)
            # As another thread asks, while this one hangs.
            seen.append(relay.reasons())
            stop.set()
            raise Stopped("stopped while it hung")

    monkeypatch.setattr(module, "RelaySession", HangingSession)
    relay.run(stop)
    assert seen == [
        ["relay starting", "relay: has not turned for 19 s, in: open a session"],
    ]
    assert relay.reasons() == ["relay stopped"]
