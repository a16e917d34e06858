"""
No statement of ours reads a table that grows as a whole, however many orders there are.

On generated orders, with statistics, as the planner of a prepared statement sees it: without the
parameters' values, and free to scan what it likes. The statements are those of the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.databases import database_settings, empty_database, migrate_service
from tests.support.stack import Stack
from tests.support.statements import BOOKS, Statement, as_prepared, statements

from orderflow.bench.years.generated import SERVICES, generate
from orderflow.messaging import postgres
from orderflow.messaging.postgres import BY_KEY, Connection, DatabaseError

MANY_ROWS = 10_000
"""A table with more rows than that grows with the orders, or may be as large as a catalogue."""

OF_WHAT_IS_OPEN = {
    "customer_due",
    "delivery_held",
    "delivery_pending",
    "payment_unknown",
    "payment_unknown_by_id",
    "payment_unknown_by_order",
    "refund_owed",
    "reservation_open",
}
"""Partial indexes that have nothing but what is open now: reading one is reading what is asked."""

READ_AS_A_WHOLE = {
    "messaging.relay.retained_rows _COUNT": "a resync publishes all that the outbox has",
    "messaging.relay.held_store _BEYOND_RETENTION": "before a resync, which reads all of it anyway",
}
"""Statements that read everything on purpose, and why."""


class Databases:
    """One for each service, full of orders."""

    def __init__(self, connections: Mapping[str, Connection]) -> None:
        self.connections = connections
        self.growing = {
            service: {name for (name,) in connection.execute(_GROWING, (MANY_ROWS,))}
            for service, connection in connections.items()
        }

    def read_as_a_whole(self, service: str, statement: Statement) -> list[str]:
        """The scans of the statement's plan that read a growing table from end to end."""
        # The books look rows up by their keys, and their connection says so.
        plan = self._plan(service, statement, by_key=statement.module == BOOKS)
        return [*_whole(plan, self.growing[service], limited=False)]

    def each_with_each(self, service: str, statement: Statement) -> list[str]:
        """The joins of two lists of the statement, as a listener's connection plans them."""
        return [*_each_with_each(self._plan(service, statement, by_key=True))]

    def _plan(self, service: str, statement: Statement, *, by_key: bool) -> Mapping[str, Any]:
        text = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {as_prepared(statement.text)}"
        connection = self.connections[service]
        with connection.transaction():
            for setting in BY_KEY if by_key else ():
                connection.execute(f"SET LOCAL {setting} = off".encode())
            [[[explained]]] = connection.execute(text.encode()).fetchall()
        plan: Mapping[str, Any] = explained["Plan"]
        return plan


def _whole(plan: Mapping[str, Any], growing: set[str], *, limited: bool) -> Iterator[str]:
    node, table = plan["Node Type"], plan.get("Relation Name")
    reads_all = node == "Seq Scan" or (
        "Index" in node and not limited and "Index Cond" not in plan and "Bitmap" not in node
    )
    if table in growing and reads_all and plan.get("Index Name") not in OF_WHAT_IS_OPEN:
        yield f"{node} on {table}"

    # A page in the order of an index reads no more than the page; not so what is sorted first.
    limited = (limited or node == "Limit") and node not in {"Sort", "Aggregate", "Hash"}
    for part in plan.get("Plans", ()):
        yield from _whole(part, growing, limited=limited)


LISTS = {"Function Scan", "CTE Scan", "Values Scan"}
"""What a statement brings along, or has made: nothing of it can be looked up by a key."""


def _each_with_each(plan: Mapping[str, Any]) -> Iterator[str]:
    parts = plan.get("Plans", ())
    if plan["Node Type"] == "Nested Loop" and "Join Filter" in plan:
        scans = [_scan(part) for part in parts if part["Parent Relationship"] in {"Outer", "Inner"}]
        if all(scan["Node Type"] in LISTS for scan in scans):
            yield " with ".join(scan["Alias"] for scan in scans)
    for part in parts:
        yield from _each_with_each(part)


def _scan(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a sort, a group or a copy is made of."""
    parts = plan.get("Plans", ())
    return _scan(parts[0]) if len(parts) == 1 else plan


@pytest.fixture(
    scope="module", params=[50_000, pytest.param(2_000_000, marks=pytest.mark.long)], ids=str
)
def databases(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Databases]:
    with ExitStack() as closing:
        connections = {}
        for service in SERVICES:
            url = closing.enter_context(empty_database(stack, f"years_{service}"))
            migrate_service(service, url)
            connections[service] = closing.enter_context(
                postgres.connect(database_settings(url), application_name="years", autocommit=True)
            )
            generate(connections[service], service, orders=request.param)
        yield Databases(connections)


def services_of(statement: Statement, databases: Databases) -> list[str]:
    """Where it can be executed: for a view of the books, in each service that has the view."""
    if statement.module != BOOKS:
        return [statement.service]
    return [service for service in SERVICES if _fits(databases.connections[service], statement)]


def _fits(connection: Connection, statement: Statement) -> bool:
    try:
        connection.execute(f"EXPLAIN (GENERIC_PLAN) {as_prepared(statement.text)}".encode())
    except DatabaseError:
        return False
    return True


def test_no_statement_reads_a_growing_table_as_a_whole(databases: Databases) -> None:
    planned = statements()
    assert len(planned) > 100, "the code's statements are found"
    whole = {}
    for statement in planned:
        services = services_of(statement, databases)
        assert services, f"{statement.place} fits no database"
        for service in services:
            if scans := databases.read_as_a_whole(service, statement):
                whole[statement.place] = scans

    assert {place: scans for place, scans in whole.items() if place not in READ_AS_A_WHOLE} == {}
    assert whole.keys() == READ_AS_A_WHOLE.keys(), "whoever need not be excused is not"


def test_no_statement_compares_two_lists_of_a_batch_each_with_each(databases: Databases) -> None:
    """Twice the batch would take four times as long: what limits a busy listener."""
    joins = {
        statement.place: pairs
        for statement in statements()
        for service in services_of(statement, databases)
        if (pairs := databases.each_with_each(service, statement))
    }
    assert joins == {}


_GROWING = "SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > %s"
