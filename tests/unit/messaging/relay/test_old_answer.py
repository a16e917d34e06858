"""A position that lies behind the slot is asked for again before the relay refuses to start."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec import structs

from orderflow.messaging.relay.position import Database, Position
from orderflow.messaging.relay.session_start import BEHIND_FOR_S, SessionStart
from orderflow.messaging.relay.settings import RelaySettings
from orderflow.messaging.relay.start_decision import ReplicationSlot
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.messaging.testing.memory_clock import MemoryClock

HERE = Database(system_identifier="7", timeline=1, oid=5, slot="relay_probe")
USED = ReplicationSlot(confirmed_flush=200)
OLD, FITS = Position(lsn=100, database=HERE), Position(lsn=200, database=HERE)


class Scripted(SessionStart):
    """Reads positions as scripted, the last one again and again."""

    def __init__(self, positions: list[Position | None]) -> None:
        unused = cast("Any", None)
        self.kept_alive = 0
        super().__init__(
            RelaySettings(
                service="probe",
                database=DatabaseSettings.model_validate({"dsn": "postgresql://db/shop"}),
                kafka=KafkaSettings(),
            ),
            admin=unused,
            stream=unused,
            consumer=unused,
            stopping=lambda: False,
            keep_alive=self.keep_alive,
        )
        self._database = HERE
        self.positions = positions

    def keep_alive(self) -> None:
        self.kept_alive += 1

    def committed_position(self) -> Position | None:
        return self.positions.pop(0) if len(self.positions) > 1 else self.positions[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MemoryClock:
    clock = MemoryClock()
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    monkeypatch.setattr("time.sleep", clock.advance)
    return clock


def test_an_old_answer_is_not_the_last_word(clock: MemoryClock) -> None:
    start, began = Scripted([None, OLD, OLD, FITS]), clock.monotonic()
    assert start.fitting_position(USED) == FITS
    assert start.kept_alive == 3
    assert clock.monotonic() - began < BEHIND_FOR_S


@pytest.mark.parametrize("position", [None, OLD])
def test_a_position_that_stays_behind_is_returned_for_the_refusal(
    position: Position | None, clock: MemoryClock
) -> None:
    began = clock.monotonic()
    assert Scripted([position]).fitting_position(USED) == position
    assert BEHIND_FOR_S <= clock.monotonic() - began < BEHIND_FOR_S + 1


@pytest.mark.parametrize(
    ("position", "slot"),
    [
        (FITS, USED),
        (None, ReplicationSlot(confirmed_flush=200, made_now=True)),
        (OLD, ReplicationSlot(confirmed_flush=200, lost=True)),
        (Position(lsn=0, database=HERE, resyncing=True), USED),
        (Position(lsn=1, database=structs.replace(HERE, oid=6)), USED),
    ],
)
def test_what_waiting_does_not_change_is_answered_at_once(
    position: Position | None, slot: ReplicationSlot, clock: MemoryClock
) -> None:
    began = clock.monotonic()
    assert Scripted([position]).fitting_position(slot) == position
    assert clock.monotonic() == began
