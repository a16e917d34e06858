"""Which drills share a stack; the command around them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.testing
from tests.support.quiet_display import QuietDisplay

from orderflow.drills import cli, programme
from orderflow.drills.catalogue import DRILLS
from orderflow.drills.conduct import Outcome, Pace
from orderflow.drills.drill import Drill, Ground
from orderflow.drills.judge import RestJudge
from orderflow.drills.programme import batches, run_all
from orderflow.messaging.errors import ConfigurationError

GOOD = Outcome(
    drill="",
    broken_s=1.0,
    recovered_s=1.0,
    rested_s=1.0,
    placed=1,
    answers={},
    peak_backlog=0,
    peak_waiting=0,
    letters=0,
    expected=(),
    judged="all",
    wrong=(),
)


class Display(QuietDisplay):
    def component(self, name: str, state: str, reason: str, /) -> None: ...

    def ended(self, drill: Drill, outcome: Outcome) -> None: ...


def drill(name: str, **fields: Any) -> Drill:
    return msgspec.structs.replace(DRILLS[0], name=name, ground=Ground(), spoils=False, **fields)


def names(runs: list[list[Drill]]) -> list[list[str]]:
    return [[drill.name for drill in batch] for batch in runs]


def test_drills_on_equal_grounds_share_a_stack_and_those_that_spoil_it_come_last() -> None:
    three = Ground(brokers=3)
    chosen = [
        msgspec.structs.replace(drill("spoiler"), spoils=True),
        msgspec.structs.replace(drill("on three"), ground=three),
        drill("plain"),
        msgspec.structs.replace(drill("its own"), ground=Ground(environment={"A": "1"})),
        msgspec.structs.replace(drill("on three too"), ground=Ground(brokers=3)),
    ]
    assert names(batches(chosen)) == [
        ["plain", "spoiler"],
        ["on three", "on three too"],
        ["its own"],
    ]


def test_a_stack_on_which_a_drill_failed_or_that_is_spoilt_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stacks: list[list[str]] = []

    class Stage:
        stack = None

        def run(self, drill: Drill, **_more: object) -> Outcome:
            stacks[-1].append(drill.name)
            wrong = ("broken",) if drill.name == "bad" else ()
            return msgspec.structs.replace(GOOD, drill=drill.name, wrong=wrong)

    @contextmanager
    def staged(_ground: Ground, **_more: object) -> Iterator[Stage]:
        stacks.append([])
        yield Stage()

    monkeypatch.setattr(programme, "staged", staged)
    chosen = [
        drill("good"),
        drill("bad"),
        drill("after"),
        msgspec.structs.replace(drill("first to spoil"), spoils=True),
        msgspec.structs.replace(drill("second to spoil"), spoils=True),
    ]
    outcomes = run_all(chosen, pace=Pace(), judge=RestJudge(), display=Display())
    assert stacks == [["good", "bad"], ["after", "first to spoil"], ["second to spoil"]]
    assert [outcome.has_passed for outcome in outcomes] == [True, False, True, True, True]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Drill]:
    """The drills that the command would have run; each passes, but for `slow-consumer`."""
    chosen: list[Drill] = []

    def fake(drills: list[Drill], *, display: Any, **_more: object) -> list[Outcome]:
        chosen.extend(drills)
        outcomes = [
            msgspec.structs.replace(
                GOOD, drill=it.name, wrong=("late",) if it.name == "slow-consumer" else ()
            )
            for it in drills
        ]
        for it, outcome in zip(drills, outcomes, strict=True):
            display.ended(it, outcome)
        return outcomes

    monkeypatch.setattr(cli, "run_all", fake)
    return chosen


def call(*words: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(cli.app, [*words])


def test_the_command_prints_a_verdict_and_ends_with_0(ran: list[Drill]) -> None:
    answer = call("run", "poison-record")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("passed  poison-record")
    assert [it.name for it in ran] == ["poison-record"]


def test_a_drill_that_failed_ends_with_1_and_the_report_is_written(
    ran: list[Drill], tmp_path: Path
) -> None:
    report = tmp_path / "drills.md"
    answer = call("run", "--all", "--report", str(report))
    assert answer.exit_code == 1
    assert "FAILED  slow-consumer" in answer.stdout
    assert [it.name for it in ran] == [it.name for it in DRILLS]
    assert f"{len(DRILLS) - 1} of {len(DRILLS)} passed" in report.read_text()


def test_as_json_there_is_nothing_else_on_standard_output(ran: list[Drill]) -> None:
    answer = call("run", "slow-consumer", "--json")
    (outcome,) = json.loads(answer.stdout)
    assert (outcome["passed"], outcome["drill"]) == (False, "slow-consumer")
    assert outcome["runbook"] == "docs/runbooks/consumer-lag.md"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "--all"),
        (("run", "no-such"), "poison-record"),
        (("run", "poison-record", "--all"), "not both"),
    ],
)
def test_a_wrong_call_says_what_there_is(words: tuple[str, ...], said: str) -> None:
    answer = call(*words)
    assert isinstance(answer.exception, ConfigurationError)
    assert said in str(answer.exception)


def test_the_list_has_all_drills_within_80_columns() -> None:
    text = call("list").stdout
    assert all(it.name in text for it in DRILLS)
    assert max(map(len, text.splitlines())) <= 80
    listed = json.loads(call("list", "--json").stdout)
    assert [it["name"] for it in listed] == [it.name for it in DRILLS]
