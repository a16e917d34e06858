"""What a relay reports about itself."""

from __future__ import annotations

import pytest

from orderflow.messaging.relay.health import Health, RelayState


@pytest.mark.parametrize("state", RelayState)
def test_only_a_relay_that_streams_or_stands_by_is_ready(state: RelayState) -> None:
    assert Health(state=state).ready == (state in (RelayState.STREAMING, RelayState.STANDBY))


def test_a_report_without_a_position_keeps_the_one_before() -> None:
    streaming = Health().changed(RelayState.STREAMING, "", position=500, wal_end=700)
    waiting = streaming.changed(RelayState.WAITING, "the broker is away", position=None, wal_end=0)
    assert (waiting.position, waiting.wal_end) == (500, 700)
    assert waiting.reason == "the broker is away"


def test_the_end_of_the_log_is_never_before_the_position() -> None:
    assert Health().changed(RelayState.STREAMING, "", position=800, wal_end=700).wal_end == 800
