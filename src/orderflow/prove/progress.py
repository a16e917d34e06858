"""How much is left to do, from Kafka and the databases: for display, and to recognise rest."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from orderflow.contracts.roster import row, subscribed
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings
from orderflow.prove.service_views import count_messages, count_waiting_orders

SERVICES = ("order", "payment", "inventory", "notification")
"""What the campaign runs: whatever a message to a customer depends on."""
GROUP = row("notification").group
GROUPS = tuple(row(service).group for service in SERVICES)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """
    `waiting`: orders that wait for payment or inventory. `behind`: records that each group has not
    finished. `finished` messages are sent or given up, `unsent` ones are not.
    """

    waiting: int
    finished: int
    unsent: int
    behind: dict[str, int]

    @property
    def is_rest(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.waiting or self.unsent or any(self.behind.values()))


def read_progress(kafka: KafkaSettings, databases: Mapping[str, DatabaseSettings]) -> Progress:
    """`databases` by service. Raises Unavailable when a server does not answer for the moment."""
    behind = dict.fromkeys(GROUPS, 0)
    for lag in lags(kafka, {group: subscribed(group) for group in GROUPS}):
        behind[lag.group] += lag.records

    # Lags first: the effects of records that were finished by then are in the databases.
    finished, unsent = count_messages(databases["notification"])
    waiting = count_waiting_orders(databases["order"])
    return Progress(waiting=waiting, finished=finished, unsent=unsent, behind=behind)
