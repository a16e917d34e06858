"""How far everything is, asked of Kafka and of the databases: for progress, and to know when it is at rest."""

from __future__ import annotations

import msgspec

from orderflow.contracts.roster import subscribed
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.postgres import connect
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings

GROUP = "notification-service"
GROUPS = ("order-service", "payment-service", "inventory-service", GROUP)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """
    `waiting`: orders for which payment or inventory has still to say something. `told` messages are sent or given up,
    `unsent` ones are not. `behind`: records that each group has not finished.
    """

    waiting: int
    told: int
    unsent: int
    behind: dict[str, int]

    @property
    def is_rest(self) -> bool:
        return not (self.waiting or self.unsent or any(self.behind.values()))


def look(kafka: KafkaSettings, databases: dict[str, DatabaseSettings]) -> Look:
    """`databases` by service. Raises Unavailable when one of them does not answer for the moment."""
    behind = dict.fromkeys(GROUPS, 0)
    for lag in lags(kafka, {group: subscribed(group) for group in GROUPS}):
        behind[lag.group] += lag.records
    told, unsent = _asked(databases["notification"], _MESSAGES)
    (waiting,) = _asked(databases["order"], _WAITING)
    return Look(waiting=waiting, told=told, unsent=unsent, behind=behind)


def _asked(database: DatabaseSettings, query: bytes) -> tuple[int, ...]:
    with connect(database, application_name="prove") as connection:
        return connection.execute(query).fetchone() or ()


_MESSAGES = b"""
SELECT count(*) FILTER (WHERE state <> 'PENDING'), count(*) FILTER (WHERE state = 'PENDING')
FROM delivery
"""
_WAITING = b"SELECT count(*) FROM orders WHERE waiting_for IN ('PAYMENT', 'STOCK')"
