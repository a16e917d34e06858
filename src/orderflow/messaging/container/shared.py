"""What the stages of one container share."""

from __future__ import annotations

import msgspec

from orderflow.messaging.container.client.kafka_client import KafkaClient
from orderflow.messaging.container.records.queues import Queues
from orderflow.messaging.container.records.record_log import RecordLog
from orderflow.messaging.container.records.record_traces import RecordTraces
from orderflow.messaging.container.records.uncommitted import Uncommitted
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.container.stages.gates import Gates
from orderflow.messaging.work.clock import Clock


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """
    One of each for a container, used on its thread alone: where records stand (`queues`), what the
    turn has done (`uncommitted`), which stages are closed (`gates`), and the client, the clock, the
    log of finished records and their spans.
    """

    settings: ContainerSettings
    client: KafkaClient
    clock: Clock
    gates: Gates
    queues: Queues
    uncommitted: Uncommitted
    record_log: RecordLog
    traces: RecordTraces
