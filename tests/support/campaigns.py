"""
What campaigns of faults counted, as a table at the end of a run: faults, counts, violations.

A pytest plugin. A test says what it did with the fixture `campaign`. One whose parameter says how
often something is done (`kills`, `times`) is counted without, and so is each test of `make soak`. A
violation is a test that failed: what was found is in its report. Rows travel with the tests'
reports, from workers too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

PROPERTY = "campaign"
COUNTED = ("kills", "times", "stops", "repetitions")
"""Parameters that say how often a fault comes."""
WIDTH = 44


@dataclass
class Row:
    """A line of the table. `violations`: tests that failed."""

    what: str
    faults: int
    checked: str
    violations: int


@dataclass
class Campaign:
    """A test's own account of what it did."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def count(self, what: str, *, faults: int, checked: str = "") -> None:
        """`what` was brought about so many times; `checked`: what was looked at afterwards."""
        self.rows.append({"what": what, "faults": faults, "checked": checked})


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    counted = Campaign()
    yield counted
    request.node.user_properties.append((PROPERTY, json.dumps(counted.rows)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is counted by its parameter is known before it runs."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    counts = [value for name, value in parameters.items() if name in COUNTED]
    is_soak = item.get_closest_marker("soak") is not None
    if "campaign" not in getattr(item, "fixturenames", ()) and (counts or is_soak):
        what = str(parameters.get("point", ""))
        row = {
            "what": what or item.name.partition("[")[0].removeprefix("test_").replace("_", " "),
            "faults": int(counts[0]) if counts else 1,
            "checked": f"{parameters['orders']:,} orders" if "orders" in parameters else "",
        }
        item.user_properties.append((PROPERTY, json.dumps([row])))


def rows_of(reports: Iterable[pytest.TestReport]) -> list[Row]:
    """
    One row for all tests of a file that did the same; a test that failed is a violation.

    A test has up to three reports, each with all that was known by then: the longest account
    counts.
    """
    accounts: dict[str, list[Any]] = {}
    failed: set[str] = set()
    for report in reports:
        failed |= {report.nodeid} if report.failed else set()
        account = [
            row
            for name, value in report.user_properties
            if name == PROPERTY
            for row in json.loads(str(value))
        ]
        if len(account) >= len(accounts.get(report.nodeid, [])):
            accounts[report.nodeid] = account

    rows: dict[tuple[str, str], Row] = {}
    for node_id, account in accounts.items():
        for counted in account:
            key = (node_id.partition("::")[0], counted["what"])
            row = rows.setdefault(key, Row(counted["what"], 0, counted["checked"], 0))
            row.faults += counted["faults"]
            row.violations += node_id in failed
    return list(rows.values())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, if any campaign ran."""
    reports = [
        report
        for outcome in ("passed", "failed", "error", "")
        for report in terminalreporter.getreports(outcome)
        if isinstance(report, pytest.TestReport)
    ]
    rows = rows_of(reports)
    if rows:
        terminalreporter.section("campaigns")
        for line in table(rows):
            terminalreporter.line(line)


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of at most 80 columns."""
    lines = [_line("fault", "faults", "checked", "violations")]
    lines += [_line(row.what, row.faults, row.checked, row.violations) for row in rows]
    faults, violations = (
        sum(row.faults for row in rows),
        sum(row.violations for row in rows),
    )
    return [*lines, _line("in all", faults, "", violations)]


def _line(what: str, faults: object, checked: str, violations: object) -> str:
    name = what if len(what) <= WIDTH else f"{what[: WIDTH - 1]}…"
    return f"{name:<{WIDTH}} {faults:>6}  {checked:<14} {violations:>10}"
