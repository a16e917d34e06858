"""When a relay's next transaction begins."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from tests.unit.messaging.relay.test_turning import SETTINGS

from orderflow.messaging.relay import relay as module
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.relay.relay import Relay
from orderflow.messaging.relay.session import RelaySession

ROW = ProducerRecord("orders", b"k", b"v", [])


class Stop(threading.Event):
    """Notes how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return self.is_set()


class Session:
    """A session that publishes anything."""

    held = position = 0
    reports = None

    def __init__(self) -> None:
        self.stream = self
        self.wal_end = 0

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments, **_options: None


def rests(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> list[float]:
    """The rest after each batch of so many rows."""
    stop, left = Stop(), list(sizes)

    class Reader:
        sequence, ends = 0, ()

        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            """Reads the sizes."""

        def next_batch(self) -> tuple[list[ProducerRecord], int]:
            size = left.pop(0)
            if not left:
                stop.set()
            return [ROW] * size, 1

    monkeypatch.setattr(module, "BatchReader", Reader)
    relay = Relay(SETTINGS)
    relay._stop = stop
    monkeypatch.setattr(relay, "_publish", lambda *_arguments: None)
    relay._stream(cast("RelaySession", Session()))
    return stop.waits


def test_a_small_batch_is_followed_by_a_rest_and_a_full_one_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    least, most = SETTINGS.rest_s
    small, full, nothing = rests(monkeypatch, 3, SETTINGS.rows_without_rest, 0)
    assert least <= small <= most
    assert full == 0
    assert nothing == 0


@pytest.mark.parametrize(("took_s", "rest"), [(0.0, 0.01), (0.02, 0.04), (3.0, 0.1)])
def test_a_rest_is_twice_as_long_as_the_transaction_within_bounds(
    took_s: float, rest: float
) -> None:
    assert Relay(SETTINGS)._rest_s(1, took_s) == rest
