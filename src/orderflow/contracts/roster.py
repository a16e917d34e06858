"""
The roster: one row for each service. A service is a folder in `services/` and a row here.

Consumer groups, topics, settings sections, the local stack's processes and ports, `status` and the
AsyncAPI document derive from the rows. Each derivation takes a roster; the default is the real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    BY_HOUR_REPARTITION,
    DEAD_LETTER_DISPOSITIONS,
    INVENTORY,
    NOTIFICATIONS,
    ORDER_EVENTS,
    ORDERS,
    PAYMENTS,
    RELAY_POSITIONS,
    REVENUE_BY_CUSTOMER,
    REVENUE_BY_HOUR,
    REVENUE_FACTS,
)
from orderflow.messaging.kafka.group_topics import group_topics, replay_topic
from orderflow.messaging.kafka.topics import Topic


class Process(msgspec.Struct, frozen=True):
    """A process of the local stack. Its first role's port is where it answers `/readyz`."""

    name: str
    roles: tuple[str, ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """
    One service. `name` is that of its package, its database and its settings section.

    `ports`: its roles in the order in which they run together, each with its default port.
    `group` reads `listens_to`; a service that listens to nothing has none. `internal`: topics
    without events that are nobody else's. A service that listens without a database keeps its state
    in stores beside it, restored from Kafka; not so one that `writes_files`, whose effect they are.
    `processes`: how the local stack divides the roles among processes; one process with all of
    them, called like the service, if it does not say. `on_demand`: the local stack runs it only
    where somebody asks for it.
    """

    name: str
    ports: Mapping[str, int]
    group: str = ""
    listens_to: tuple[Topic, ...] = ()
    publishes: tuple[Topic, ...] = ()
    internal: tuple[Topic, ...] = ()
    has_database: bool = True
    writes_files: bool = False
    processes: tuple[Process, ...] = ()
    on_demand: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self.ports)

    @property
    def package(self) -> str:
        return f"orderflow.services.{self.name}"

    @property
    def listens(self) -> bool:
        """Whether it has a listener, and with it a group."""
        return bool(self.group)

    @property
    def has_stores(self) -> bool:
        """Whether it keeps state in stores beside it."""
        return self.listens and not self.has_database and not self.writes_files

    @property
    def runs(self) -> tuple[Process, ...]:
        """Its processes on the local stack."""
        return self.processes or (Process(self.name, self.roles),)


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """
    A consumer group of a connector, which no process of ours is in: Connect reads these topics.

    Its dead letters lie and come back as those of any group do.
    """

    group: str
    listens_to: tuple[Topic, ...]


Roster = Sequence[Row]

ROSTER: Roster = (
    Row(
        name="order",
        ports={"api": 8080, "relay": 8090, "listener": 8200, "sweeper": 8300},
        group="order-service",
        listens_to=(PAYMENTS, INVENTORY),
        publishes=(ORDERS, ORDER_EVENTS),
        processes=(
            Process("order-api", ("api",)),
            Process("order-relay", ("relay", "listener", "sweeper")),
        ),
    ),
    Row(
        name="payment",
        ports={"api": 8081, "listener": 8210},
        group="payment-service",
        listens_to=(ORDERS,),
        publishes=(PAYMENTS,),
    ),
    Row(
        name="inventory",
        ports={"api": 8082, "listener": 8220, "relay": 8092},
        group="inventory-service",
        listens_to=(PAYMENTS, ORDERS),
        publishes=(INVENTORY,),
    ),
    Row(
        name="notification",
        ports={"api": 8083, "listener": 8230, "sender": 8260, "relay": 8093},
        group="notification-service",
        listens_to=(ORDERS, PAYMENTS, INVENTORY, ORDER_EVENTS),
        publishes=(NOTIFICATIONS,),
    ),
    Row(
        name="fulfilment",
        ports={"api": 8084, "listener": 8240},
        group="order-processor",
        listens_to=(ORDER_EVENTS, INVENTORY),
    ),
    Row(
        name="analytics",
        ports={"api": 8085, "listener": 8250},
        group="analytics-service",
        listens_to=(ORDER_EVENTS,),
    ),
    Row(
        name="revenue",
        ports={"api": 8100, "listener": 8280},
        group="revenue-service",
        listens_to=(PAYMENTS, BY_CUSTOMER_REPARTITION, BY_HOUR_REPARTITION),
        publishes=(
            BY_CUSTOMER_REPARTITION,
            REVENUE_BY_CUSTOMER,
            BY_HOUR_REPARTITION,
            REVENUE_BY_HOUR,
        ),
        internal=(REVENUE_FACTS,),
        has_database=False,
    ),
    Row(
        name="operations",
        ports={"api": 8086, "observer": 8290, "auditor": 8310, "restarter": 8330},
        has_database=False,
    ),
    Row(
        name="lake",
        ports={"exporter": 8320},
        group="lake-exporter",
        listens_to=(PAYMENTS,),
        has_database=False,
        writes_files=True,
        on_demand=True,
    ),
)


def row(name: str, roster: Roster = ROSTER) -> Row:
    """The row of a service. Raises KeyError with the name of a service that has none."""
    return {member.name: member for member in roster}[name]


PAYMENTS_WAREHOUSE = Sink(group="payments-warehouse", listens_to=(PAYMENTS,))
SINKS: Sequence[Sink] = (PAYMENTS_WAREHOUSE,)
"""The sinks that `--with connect` runs."""


def groups(roster: Roster = ROSTER) -> dict[str, tuple[Topic, ...]]:
    """Each consumer group that always runs, with the topics it listens to."""
    return {
        member.group: member.listens_to
        for member in roster
        if member.listens and not member.on_demand
    }


def on_demand_groups(
    roster: Roster = ROSTER, sinks: Sequence[Sink] = SINKS
) -> dict[str, tuple[Topic, ...]]:
    """Each consumer group that runs only where somebody asks for it, with its topics."""
    return {
        **{
            member.group: member.listens_to
            for member in roster
            if member.listens and member.on_demand
        },
        **{sink.group: sink.listens_to for sink in sinks},
    }


def all_groups(
    roster: Roster = ROSTER, sinks: Sequence[Sink] = SINKS
) -> dict[str, tuple[Topic, ...]]:
    """Each consumer group that there can be, with the topics it listens to."""
    return groups(roster) | on_demand_groups(roster, sinks)


def subscribed(group: str, roster: Roster = ROSTER) -> tuple[str, ...]:
    """
    The names of all topics that a group reads.

    Beside those it listens to these are their replay topics, by which its dead letters come back.
    """
    return tuple(
        name
        for topic in all_groups(roster)[group]
        for name in (topic.name, replay_topic(topic, group).name)
    )


def topics(roster: Roster = ROSTER) -> tuple[Topic, ...]:
    """Every topic that `orderflow topics apply` makes, with each group's dead-letter topics."""
    return (
        *(topic for member in roster for topic in (*member.publishes, *member.internal)),
        RELAY_POSITIONS,
        *(
            topic
            for group, listened in all_groups(roster).items()
            for topic in group_topics(listened, group)
        ),
        DEAD_LETTER_DISPOSITIONS,
    )


def sections(roster: Roster = ROSTER) -> tuple[str, ...]:
    """
    Every top-level section among the settings: `ORDERFLOW_<SECTION>__…`.

    A process reads its own and accepts that the others stand in the same environment.
    """
    return (
        *(member.name for member in roster),
        "books",
        "connect",
        "warehouse",
        "follower",
        "psp",
        "mail",
        "stack",
        "topics",
    )


GROUPS = groups()
ON_DEMAND_GROUPS = on_demand_groups()
ALL_GROUPS = all_groups()
ALWAYS_RUN: Roster = tuple(member for member in ROSTER if not member.on_demand)
"""The services that every stack runs."""

TOPICS = topics()
SECTIONS = sections()
OBSERVED = frozenset(topic.name for topic in TOPICS) - {RELAY_POSITIONS.name}
"""Where groups can be behind: a relay's position is no offset."""
TYPES_BY_TOPIC: dict[str, tuple[str, ...]] = {
    topic.name: topic.types for topic in TOPICS if topic.types
}
"""The event types that belong on each topic, by their full names."""
