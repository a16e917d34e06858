"""What a relay says of itself: a value that its thread replaces as a whole and any other thread may read."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from orderflow.messaging.telemetry import counter, gauge


class RelayState(StrEnum):
    """`standby`: another relay reads the slot. `waiting`: broker or database is away, or undid our work."""

    STARTING = "starting"
    STANDBY = "standby"
    STREAMING = "streaming"
    WAITING = "waiting"
    REFUSED = "refused"
    FENCED = "fenced"
    STOPPED = "stopped"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`position` and `wal_end` are LSNs as numbers; their difference is the log not yet published, in bytes."""

    state: RelayState = RelayState.STARTING
    reason: str = ""
    position: int = 0
    wal_end: int = 0

    @property
    def ready(self) -> bool:
        """A standby is ready too: it is well, and takes over by itself."""
        return self.state in (RelayState.STREAMING, RelayState.STANDBY)


RECORDS = counter("relay_records", "Outbox rows published, in committed Kafka transactions")
TRANSACTIONS = counter(
    "relay_transactions", "Kafka transactions committed by the relay, idle ones included"
)
ABORTS = counter("relay_aborts", "Kafka transactions of the relay that were undone and sent again")
RESTARTS = counter(
    "relay_restarts", "Times the relay went back to its committed position after a failure"
)
STREAMING = gauge("relay_streaming", "1 while this process publishes the outbox, else 0")
POSITION = gauge(
    "relay_position_bytes", "End of the last published database transaction in the server's log"
)
WAL_END = gauge("relay_wal_end_bytes", "End of the server's log as the relay last heard it")
