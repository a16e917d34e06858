"""Which outbox a relay publishes, and the names that belong to it on both sides."""

from __future__ import annotations

import msgspec

from orderflow.messaging.errors import NEUTRAL, OperatorCommands
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings


def slot_of(service: str) -> str:
    """The name of the replication slot of a service's relay."""
    return f"relay_{service}"


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """
    One relay. `service` names its slot and publication, its group and its transactional id.

    `rows_max` and `bytes_max` bound one Kafka transaction; it always holds whole database
    transactions, so the last of them may exceed both. `commands` are named in refusals.
    """

    service: str
    database: DatabaseSettings
    kafka: KafkaSettings
    rows_max: int = 2_000
    bytes_max: int = 8 * 1024 * 1024
    rest_s: tuple[float, float] = (0.01, 0.1)
    """The least and the most between two transactions. What comes after a rest goes at once."""
    rows_without_rest: int = 500
    """A batch of so many rows says that more are waiting: the next one follows it at once."""
    idle_commit_every_s: float = 5.0
    """On an idle system, whoever asks whether all is published, as the books do, waits so long."""
    tick_every_s: float = 60.0
    """How often the relay increments the counter that tells a restored backup from the original."""
    held_rows_max: int = 1_000
    """With more rows to hold it is the topic that is wrong, not they: the relay stops and waits."""
    commands: OperatorCommands = NEUTRAL

    @property
    def slot(self) -> str:
        """The name of the replication slot, and of the publication."""
        return slot_of(self.service)

    @property
    def group(self) -> str:
        """The consumer group whose offset is the position."""
        return f"relay.{self.service}"

    @property
    def transactional_id(self) -> str:
        """One for all relays of the service: a new one fences the one before."""
        return f"{self.service}.relay.0"
