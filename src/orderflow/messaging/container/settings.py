"""What a container is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from orderflow.messaging.listener import Listener
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings, RegistrySettings
from orderflow.messaging.work.pace import rest_s
from orderflow.messaging.work.turning import TURNS_WITHIN_S

RECORDS_MAX = 500

Protocol = Literal["classic", "consumer"]


class ContainerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """
    The settings of one worker.

    `slot` distinguishes the workers of a group, and is the same after a restart. `protocol`:
    `classic` with static membership and cooperative-sticky assignment; `consumer` is KIP-848,
    without static membership. `database` is needed by `InboxOutbox`. `consumer_overrides` are
    librdkafka's keys. `rest_s`: the least and the most between two transactions of Kafka,
    `database_rests_s`: of the database.
    `fenced_poll_s`: how long a fenced producer's consumer waits for its own verdict, longer than a
    heartbeat. `turns_within_s`:
    after what time without a turn the worker is not ready. Every other limit of a container is in
    `finished_offsets.admits`.
    """

    listener: Listener
    kafka: KafkaSettings
    registry: RegistrySettings
    catalogue: SchemaCatalogue
    slot: int = 0
    database: DatabaseSettings | None = None
    protocol: Protocol = "classic"
    consumer_overrides: Mapping[str, object] = {}
    records_max: int = RECORDS_MAX
    turn_s_max: float = 5.0
    rest_s: tuple[float, float] = (0.015, 0.1)
    database_rests_s: tuple[float, float] = (0.01, 0.1)
    commit_every_s: float = 0.2
    idle_after_s: float = 1.0
    committed_within_s: float = 40.0
    stop_within_s: float = 5.0
    fenced_poll_s: float = 4.0
    turns_within_s: float = TURNS_WITHIN_S
    log_records: bool = True

    def kafka_rest_s(self, took_s: float) -> float:
        """How long to rest after a Kafka transaction that took so long."""
        return rest_s(self.rest_s, took_s)

    def database_rest_s(self, took_s: float) -> float:
        """As `kafka_rest_s`, after the database transactions of a turn."""
        return rest_s(self.database_rests_s, took_s)

    @property
    def transactional_id(self) -> str:
        return f"{self.listener.name}.listener.{self.slot}"

    @property
    def instance_id(self) -> str:
        return f"{self.listener.group}-{self.slot}"
