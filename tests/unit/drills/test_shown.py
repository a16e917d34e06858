"""What people see of drills: figures within 80 columns, a line of verdict, a report."""

from __future__ import annotations

import io

import msgspec
import pytest

from orderflow.cli.terminal import Terminal
from orderflow.drills.catalogue import DRILLS
from orderflow.drills.conduct import Expected, Outcome, Pace
from orderflow.drills.figures import ClusterFigures, Figures, TableFigures
from orderflow.drills.report import markdown
from orderflow.drills.screen import WIDTH_MAX, Screen, line, rows, screen, verdict
from orderflow.drills.service_views import OrderCounts
from orderflow.trials.machine import this_machine

SERVICES = ("order", "payment", "inventory", "notification", "fulfilment", "analytics", "revenue")
LARGE = Figures(
    placed=1_234_567,
    answers={"201": 1_000_000, "200": 234_567, "503": 45_678, "none": 9_999},
    cluster=ClusterFigures(
        brokers=3,
        lag=dict.fromkeys(SERVICES, 1_234_567),
        waiting=12_345,
        letters=12_345,
        leaderless=4,
        under_replicated=40,
    ),
    tables=TableFigures(orders=OrderCounts(known=1_234_567, waiting=54_321), unsent=123_456),
)
AWAY = msgspec.structs.replace(LARGE, cluster=None, tables=None)
MET = Expected(what="it is aside", phase="while broken", within_s=30.0, took_s=1.26)
LATE = Expected(what="it is back", phase="once healed", within_s=30.0, took_s=None)
PASSED = Outcome(
    drill="poison-record",
    broken_s=3.1,
    recovered_s=1.2,
    rested_s=4.0,
    placed=420,
    answers={"201": 420, "503": 7},
    peak_backlog=1_035,
    peak_waiting=2,
    letters=0,
    expected=(MET,),
    judged="the books",
    wrong=(),
)
FAILED = msgspec.structs.replace(
    PASSED, recovered_s=None, expected=(MET, LATE), wrong=("1 order is lost",)
)
DRILL = DRILLS[0]


def printed(shown: object, *, width: int = 200) -> str:
    file = io.StringIO()
    Terminal(file=file, width=width).print(shown)
    return file.getvalue()


@pytest.mark.parametrize("figures", [LARGE, AWAY], ids=["large", "away"])
def test_all_figures_fit_into_80_columns(figures: Figures) -> None:
    text = printed(screen("leader-lost", figures))
    assert max(len(row.rstrip()) for row in text.splitlines()) <= WIDTH_MAX


def test_each_group_each_answer_and_all_that_waits_is_shown() -> None:
    text = " ".join(value for _, value in rows(LARGE))
    for wanted in (
        *SERVICES,
        "1,234,567 placed",
        "45,678 × 503",
        "9,999 unanswered",
        "12,345 open",
    ):
        assert wanted in text


def test_what_is_not_known_is_no_number() -> None:
    shown = dict(rows(AWAY))
    assert shown["lag"] == "kafka does not answer"
    assert shown["orders"] == "1,234,567 placed, ? finished, ? wait"
    assert "lag ?, ? waiting, ? letters" in line(AWAY)


def test_without_a_terminal_a_drill_is_plain_lines_of_at_most_80_columns() -> None:
    file = io.StringIO()
    shown = Screen(Terminal(file=file, width=200))
    for drill in DRILLS:
        shown.phase(drill, f"breaks: {drill.breaks}")
        shown.look(LARGE)
        shown.expected(LATE)
        shown.ended(drill, FAILED)
    text = file.getvalue()
    assert "\x1b" not in text
    assert max(len(row) for row in text.splitlines()) <= WIDTH_MAX
    assert "✗ once healed: it is back" in text
    assert "1 order is lost" in text


def test_a_verdict_is_one_line_with_figures_and_the_runbook() -> None:
    assert verdict(DRILL, PASSED) == (
        "passed  poison-record: 420 orders, 420 done, 7 × 503; 1,035 behind at most, "
        "caught up 1.2 s after; the books in order. docs/runbooks/dead-letters.md"
    )
    assert verdict(DRILL, FAILED).startswith("FAILED  poison-record: ")
    assert "not caught up" in verdict(DRILL, FAILED)


def test_an_outcome_says_what_failed_in_sentences() -> None:
    assert PASSED.failures == ()
    assert FAILED.failures == (
        "once healed: it is back: not within 30 s",
        "the backlog did not go away in time",
        "1 order is lost",
    )


def test_the_report_has_each_drill_with_what_degrades_and_what_was_measured() -> None:
    text = markdown(
        [(DRILL, PASSED), (DRILLS[1], msgspec.structs.replace(FAILED, drill=DRILLS[1].name))],
        pace=Pace(),
        machine=this_machine(),
    )
    assert "1 of 2 passed" in text
    assert (
        "| poison-record | 3 s | 1,035 | 7 | 1.2 s | [dead-letters](runbooks/dead-letters.md) |"
    ) in text
    assert f"| {DRILL.name} | {DRILL.degrades} | {DRILL.goes_on} |" in text
    assert f"{DRILLS[1].name} (**failed**)" in text
    assert "- while broken: it is aside (1.3 s)" in text
    assert "- once healed: it is back – **not so**" in text
    assert "1 order is lost" in text
