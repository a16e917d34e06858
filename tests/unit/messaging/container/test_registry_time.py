"""Records of schemas that the registry does not have cost few look-ups, and no turn much time."""

from __future__ import annotations

import struct

import pytest
from tests.support.memory_listener import ASKED, MemoryListener
from tests.support.probe_language import asked
from tests.support.records import headers

from orderflow.messaging.errors import Unavailable

SLOW_S = 4.0
IDS = 40


class SlowRegistry:
    """Knows nothing, and takes its time to say so."""

    def __init__(self, listener: MemoryListener) -> None:
        self._clock = listener.clock
        self.looked_up: list[int] = []
        self.is_gateway = False

    def schema_text(self, schema_id: int) -> str | None:
        self.looked_up.append(schema_id)
        self._clock.advance(SLOW_S)
        if self.is_gateway:
            raise Unavailable("403 in HTML", resource="registry")
        return None


@pytest.fixture
def listener() -> MemoryListener:
    return MemoryListener()


@pytest.fixture
def registry(listener: MemoryListener, monkeypatch: pytest.MonkeyPatch) -> SlowRegistry:
    registry = SlowRegistry(listener)
    monkeypatch.setattr(listener.bus.registry, "schema_text", registry.schema_text)
    return registry


def send(listener: MemoryListener, key: str, schema_id: int) -> None:
    value = struct.pack(">bI", 0, schema_id) + b"x"
    listener.bus.append([(ASKED.name, key.encode(), value, headers(asked(key, 0)))])


def test_a_turn_asks_a_slow_registry_once_and_goes_on_to_poll(
    listener: MemoryListener, registry: SlowRegistry
) -> None:
    listener.turn()
    for number in range(IDS):
        send(listener, f"key-{number}", 1_000 + number)
    for turns in range(1, 6):
        before = listener.clock.monotonic()
        listener.workers[0].turn()
        assert listener.clock.monotonic() - before <= SLOW_S
        assert len(registry.looked_up) == turns

    listener.run()
    assert len(listener.dead) == len(set(registry.looked_up)) == IDS


def test_an_id_that_the_registry_does_not_have_is_looked_up_once_for_many_records(
    listener: MemoryListener, registry: SlowRegistry
) -> None:
    listener.turn()
    for number in range(IDS):
        send(listener, f"key-{number}", 1_000)
    listener.run()
    assert registry.looked_up == [1_000]
    assert len(listener.dead) == IDS


def test_a_gateway_in_the_registrys_place_makes_no_dead_letter_and_ends_no_worker(
    listener: MemoryListener, registry: SlowRegistry
) -> None:
    listener.turn()
    registry.is_gateway = True
    send(listener, "a", 1_000)
    listener.turn(60)
    assert listener.dead == []
    assert any("registry: away" in reason for reason in listener.reasons())
    registry.is_gateway = False
    listener.run()
    assert len(listener.dead) == 1, "the registry itself says that it has no such schema"
