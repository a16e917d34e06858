"""What a relay reports about itself: one immutable value, and the gauges that follow it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from orderflow.messaging.telemetry import gauge

STREAMING = gauge(
    "relay_streaming",
    "1 while this process publishes the outbox, or another reader of its slot does, else 0.",
    ("relay",),
)
POSITION = gauge(
    "relay_position_bytes",
    "End of the last published database transaction in the server's log.",
    ("relay",),
)
WAL_END = gauge(
    "relay_wal_end_bytes", "End of the server's log as the relay last heard it.", ("relay",)
)


class RelayState(StrEnum):
    """`standby`: another relay reads the slot. `waiting`: the relay retries after a failure."""

    STARTING = "starting"
    STANDBY = "standby"
    STREAMING = "streaming"
    WAITING = "waiting"
    REFUSED = "refused"
    FENCED = "fenced"
    STOPPED = "stopped"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """
    `position` and `wal_end` are LSNs as numbers; their difference is unpublished log, in bytes.

    The relay's thread replaces the value as a whole, so any thread may read it.
    """

    state: RelayState = RelayState.STARTING
    reason: str = ""
    position: int = 0
    wal_end: int = 0

    @property
    def ready(self) -> bool:
        """True while streaming or standing by: a standby takes over without anyone's help."""
        return self.state in (RelayState.STREAMING, RelayState.STANDBY)

    def changed(
        self, state: RelayState, reason: str, *, position: int | None, wal_end: int
    ) -> Health:
        """The next value. `position` None: unchanged. The end of the log never moves back."""
        position = self.position if position is None else position
        return Health(
            state=state,
            reason=reason,
            position=position,
            wal_end=max(wal_end, position, self.wal_end),
        )


def set_gauges(health: Health, *, relay: str) -> None:
    """Export `health` as the metrics of this relay."""
    STREAMING.labels(relay).set(health.state is RelayState.STREAMING)
    POSITION.labels(relay).set(health.position)
    WAL_END.labels(relay).set(health.wal_end)
