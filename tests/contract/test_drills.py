"""Each drill has a runbook that says how to practise it, and is told in words that fit a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow.drills.catalogue import DRILLS
from orderflow.drills.drill import Drill

ROOT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)


def test_names_are_unique() -> None:
    assert len({drill.name for drill in DRILLS}) == len(DRILLS)


@EACH
def test_a_drill_has_a_runbook_that_says_how_to_practise_it(drill: Drill) -> None:
    text = (ROOT / drill.runbook_path).read_text()
    assert f"$ orderflow drill run {drill.name}\n" in text


@EACH
def test_a_drill_is_told_in_sentences(drill: Drill) -> None:
    for words in (drill.lab, drill.breaks, drill.should, drill.degrades, drill.goes_on):
        assert words == words.strip().rstrip(".")
        assert "|" not in words


@EACH
def test_the_report_has_the_drill_as_the_code_has_it_and_it_passed(drill: Drill) -> None:
    text = (ROOT / "docs" / "drills.md").read_text()
    assert f"| {drill.name} | {drill.degrades} | {drill.goes_on} |" in text
    assert f"\n## {drill.name}\n" in text
    assert f"{drill.name} (**failed**)" not in text
