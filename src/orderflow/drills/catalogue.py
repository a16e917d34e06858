"""All drills, in the order in which `run --all` begins with them."""

from __future__ import annotations

from orderflow.drills.drill import Drill
from orderflow.drills.incidents import (
    duplicate_delivery,
    hot_partition,
    incompatible_schema,
    mail_refused,
    poison_record,
    provider_down,
    provider_lies,
    rebalance_storm,
    unknown_payment,
)
from orderflow.messaging.errors import ConfigurationError

DRILLS: tuple[Drill, ...] = (
    poison_record.DRILL,
    provider_down.DRILL,
    provider_lies.DRILL,
    unknown_payment.DRILL,
    duplicate_delivery.DRILL,
    rebalance_storm.DRILL,
    hot_partition.DRILL,
    incompatible_schema.DRILL,
    mail_refused.DRILL,
)


def find(name: str) -> Drill:
    """Raises ConfigurationError, naming all drills, if there is none of that name."""
    for drill in DRILLS:
        if drill.name == name:
            return drill
    names = ", ".join(drill.name for drill in DRILLS)
    raise ConfigurationError(f"there is no drill {name!r}; there are: {names}")
