"""What must be true of the topics of every topology, before a service with state can run."""

from __future__ import annotations

from importlib import import_module

import pytest

from orderflow.contracts.roster import ROSTER, TOPICS, TYPES_BY_TOPIC, Row
from orderflow.messaging.kafka.topics import Cleanup
from orderflow.messaging.listener import Listener, Stateful
from orderflow.messaging.streams.topology import Table, Topology


def topology_of(row: Row) -> Topology | None:
    if not row.listens:
        return None
    listener: Listener = import_module(f"{row.package}.listeners").LISTENER
    return listener.delivery.topology if isinstance(listener.delivery, Stateful) else None


TOPOLOGIES = [(row, topology) for row in ROSTER if (topology := topology_of(row))]
EACH = pytest.mark.parametrize(
    ("row", "topology"), TOPOLOGIES, ids=[row.name for row, _topology in TOPOLOGIES]
)
TABLES = [table for _row, topology in TOPOLOGIES for table in topology.tables]
EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def test_there_is_a_topology() -> None:
    assert TABLES


@EACH
def test_a_service_has_state_or_a_database_and_never_both(row: Row, topology: Topology) -> None:
    assert not row.has_database
    assert [another.name for another in ROSTER if another.has_stores] == [
        member.name for member, _topology in TOPOLOGIES
    ]


@EACH
def test_a_row_has_every_topic_of_its_topology(row: Row, topology: Topology) -> None:
    facts = {table.facts for table in topology.tables if table.facts}
    assert row.listens_to == topology.topics
    assert set(row.publishes) == set(topology.publishes)
    assert set(row.internal) == facts


@EACH
def test_nobody_else_reads_what_is_internal(row: Row, topology: Topology) -> None:
    others = {topic for another in ROSTER if another is not row for topic in another.listens_to}
    assert not others & set(topology.internal)


@EACH_TABLE
def test_a_table_and_its_topics_have_the_same_partitions_on_every_cluster(table: Table) -> None:
    """All follow the one default: a key's records and its state are on partitions of one number."""
    topics = (table.repartition, *table.changelogs)
    assert {topic.partitions for topic in topics} == {None}
    assert set(topics) <= set(TOPICS)


@EACH_TABLE
def test_changelogs_are_compacted_and_what_is_re_keyed_is_not(table: Table) -> None:
    assert {topic.cleanup for topic in table.changelogs} == {Cleanup.COMPACT}
    assert {topic.retention for topic in table.changelogs} == {None}
    assert table.repartition.cleanup is Cleanup.DELETE


@EACH_TABLE
def test_each_topic_of_a_table_has_its_one_type_and_that_of_facts_has_none(table: Table) -> None:
    assert TYPES_BY_TOPIC[table.repartition.name] == (table.event.type_name(),)
    assert TYPES_BY_TOPIC[table.changelog.name] == (table.value.type_name(),)
    assert table.facts is None or not table.facts.types


@EACH_TABLE
def test_whoever_counts_facts_has_a_changelog_for_them(table: Table) -> None:
    assert (table.fact is None) == (table.facts is None)
