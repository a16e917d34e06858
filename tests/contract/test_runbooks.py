"""
Each alert has a runbook, and what a runbook tells an operator to type is right.

Commands stand in `console` blocks, one after each `$ `. Those of `orderflow` are parsed by the
command itself: names, options, number of arguments. `<id>` and the like stand for what the operator
knows.
"""

from __future__ import annotations

import re
import shlex
import uuid
from pathlib import Path

import pytest
from tests.support.alert_rules import rules_of
from tests.support.printed_commands import refuse_unknown
from tests.support.runbooks import RUNBOOKS, typed
from typer.exceptions import TyperException

ROOT = Path(__file__).parents[2]
ALERTS = {
    rule["alert"]: rule["annotations"]["runbook"]
    for file in sorted(ROOT.glob("deploy/prometheus/rules/*.yml"))
    for rule in rules_of(file)
    if "alert" in rule
}
ORDER = str(uuid.UUID(int=7))

COMMANDS = [
    pytest.param(words, id=f"{file.stem}: {shlex.join(words)}")
    for file in RUNBOOKS
    for words in typed(file.read_text(), order=ORDER)
]


@pytest.fixture(autouse=True)
def as_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line decides which command is imported."""
    monkeypatch.setattr("sys.argv", ["orderflow", "called"])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_a_runbook_is_what_orderflow_takes(words: list[str]) -> None:
    refuse_unknown(words)


@pytest.mark.parametrize(
    "words", [["status", "--nonsense"], ["nonsense"], ["stuck", "retry"], ["stuck", "x"]]
)
def test_a_wrong_command_is_seen(words: list[str]) -> None:
    with pytest.raises(TyperException):
        refuse_unknown(words)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert_has_a_runbook_that_names_it(alert: str) -> None:
    runbook = ROOT / ALERTS[alert]
    assert runbook.is_file()
    assert f"`{alert}`" in runbook.read_text()


def test_a_runbook_names_no_alert_that_is_none() -> None:
    for runbook in RUNBOOKS:
        first = runbook.read_text().split("\n\n")[1]
        assert set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)`", first)) <= ALERTS.keys(), runbook.name


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_begins_with_its_name_and_has_commands(runbook: Path) -> None:
    text = runbook.read_text()
    assert text.startswith("# ")
    assert "```console\n$ " in text
    assert "\n## " in text
