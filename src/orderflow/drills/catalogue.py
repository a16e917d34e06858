"""All drills, in the order in which `run --all` begins with them."""

from __future__ import annotations

from orderflow.contracts.known_names import there_are
from orderflow.drills.drill import Drill
from orderflow.drills.incidents import (
    duplicate_delivery,
    handler_bug,
    hot_partition,
    incompatible_schema,
    killed_processes,
    mail_refused,
    poison_record,
    provider_down,
    provider_lies,
    rebalance_storm,
    restored_from_old_backup,
    servers_away,
    slow_consumer,
    unknown_payment,
    zombie_worker,
)
from orderflow.messaging.errors import ConfigurationError

DRILLS: tuple[Drill, ...] = (
    poison_record.DRILL,
    handler_bug.DRILL,
    slow_consumer.DRILL,
    killed_processes.PAYMENT,
    killed_processes.RELAY,
    zombie_worker.DRILL,
    servers_away.BROKER,
    servers_away.LEADER,
    servers_away.REGISTRY,
    servers_away.DATABASE,
    provider_down.DRILL,
    provider_lies.DRILL,
    unknown_payment.DRILL,
    duplicate_delivery.DRILL,
    rebalance_storm.DRILL,
    hot_partition.DRILL,
    incompatible_schema.DRILL,
    mail_refused.DRILL,
    restored_from_old_backup.DRILL,
)


def find(name: str) -> Drill:
    """Raises ConfigurationError, naming all drills, if there is none of that name."""
    for drill in DRILLS:
        if drill.name == name:
            return drill
    known = (drill.name for drill in DRILLS)
    raise ConfigurationError(f"there is no drill {name!r}; {there_are(name, known)}")
