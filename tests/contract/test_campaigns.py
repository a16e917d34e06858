"""The table of what campaigns counted: one line for each fault, violations in all."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from tests.support.campaigns import PROPERTY, Campaign, rows_of, table

FILE = "tests/chaos/test_some.py"
KILLED = {"what": "payment is killed", "faults": 10, "checked": "120 orders"}


def report(
    name: str,
    *rows: dict[str, Any],
    outcome: Literal["passed", "failed"] = "passed",
    when: Literal["setup", "call", "teardown"] = "call",
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=f"{FILE}::{name}",
        location=(FILE, 0, name),
        keywords={},
        outcome=outcome,
        longrepr=None,
        when=when,
        user_properties=[(PROPERTY, json.dumps(rows))] if rows else [],
    )


def test_a_fault_has_one_line_and_its_counts_are_added() -> None:
    (row,) = rows_of([report("test_a", KILLED), report("test_b", KILLED)])
    assert (row.what, row.faults, row.violations) == ("payment is killed", 20, 0)


def test_the_three_reports_of_a_test_count_once() -> None:
    (row,) = rows_of([report("test_a", KILLED, when="call"), report("test_a", when="teardown")])
    assert row.faults == 10


def test_a_test_that_failed_is_a_violation_of_what_it_counted() -> None:
    failed = report("test_a", outcome="failed")
    (row,) = rows_of([failed, report("test_a", KILLED, when="teardown")])
    assert row.violations == 1
    assert table([row])[-1].split() == ["in", "all", "10", "1"]


def test_a_table_fits_eighty_columns() -> None:
    rows = rows_of([report("test_a", {**KILLED, "what": "a fault with a long name " * 9})])
    assert all(len(line) <= 80 for line in table(rows))


def test_what_a_test_counts_is_kept_in_its_order() -> None:
    campaign = Campaign()
    campaign.count("one", faults=1)
    campaign.count("other", faults=2, checked="3 orders")
    assert [row["what"] for row in campaign.rows] == ["one", "other"]
