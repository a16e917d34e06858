"""
`orderflow dlt`: which letters are meant, who is asked before what, and how a command ends. The desk
stands at the other side of its own seam here; on Kafka it is tested where the kit is, and in
`test_m5_desk`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cli.dlt.letters import DLT, NOW, ORDER, a_group, a_letter
from typer.testing import CliRunner, Result

import orderflow.cli.dlt.command as commands
from orderflow.cli.dlt.asking import actor, letter_filter
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import ANY, LetterFilter
from orderflow.messaging.dead_letters.replay_plan import (
    DeskProgress,
    DeskReport,
    Held,
    PlannedLetter,
    ReplayPlan,
)
from orderflow.messaging.errors import ConfigurationError, OrderflowError

REPLAY = "orders.payment-service.replay"
ONE = f"{DLT}/0/12"


class AnsweringDesk:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, LetterFilter, dict[str, Any]]] = []
        self.plan = ReplayPlan(to_send={REPLAY: 3})
        self.report = DeskReport(done=3, by_topic={REPLAY: 3})
        self.groups = [a_group(letters=3)]
        self.during: Any = None

    def letters(self, chosen: LetterFilter, **options: Any) -> Iterator[Any]:
        self.calls.append(("letters", chosen, options))
        yield from (a_letter(12), a_letter(13))

    def summary(self, chosen: LetterFilter, **options: Any) -> list[Any]:
        self.calls.append(("summary", chosen, options))
        return self.groups

    def find(self, letter_id: LetterId) -> Any:
        return a_letter(letter_id.offset)

    def plan_replay(self, chosen: LetterFilter, **options: Any) -> ReplayPlan:
        self.calls.append(("plan", chosen, options))
        return self.plan

    def replay(self, chosen: LetterFilter, **options: Any) -> DeskReport:
        return self._done("replay", chosen, options)

    def discard(self, chosen: LetterFilter, **options: Any) -> DeskReport:
        return self._done("discard", chosen, options)

    def _done(self, verb: str, chosen: LetterFilter, options: dict[str, Any]) -> DeskReport:
        self.calls.append((verb, chosen, options))
        options["on_progress"](DeskProgress(done=1, total=3))
        if self.during is not None:
            self.during()
        stopped = options["stop"]()
        return DeskReport(done=1, stopped=True, left=2) if stopped else self.report

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, *_ in self.calls]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> AnsweringDesk:
    desk = AnsweringDesk()
    monkeypatch.setattr(commands, "desk", lambda _kafka: desk)
    return desk


def run(*words: str) -> Result:
    return CliRunner().invoke(commands.app, words)


def test_filters_are_what_the_options_say() -> None:
    chosen = letter_filter(
        ids=[ONE],
        group="payment-service",
        topic="orders",
        kind="OrderCreated",
        cause="Poison",
        key="a",
        order=ORDER,
        since="2h",
        until="2026-01-31T13:00+01:00",
        parked=False,
        now=NOW,
    )
    assert chosen == LetterFilter(
        ids=frozenset([LetterId(DLT, 0, 12)]),
        group="payment-service",
        topic="orders",
        type="OrderCreated",
        cause="Poison",
        key=b"a",
        order_id=ORDER,
        since=NOW - timedelta(hours=2),
        until=datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
        parked=False,
    )
    assert letter_filter(now=NOW) == ANY


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "payment"}, "there is no group payment; there are: order-service"),
        ({"topic": "nope"}, "no group listens to nope"),
        ({"since": "yesterday"}, "'yesterday' is no time"),
        ({"ids": ["x"]}, "names no dead letter"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_would_be_right(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        letter_filter(**options, now=NOW)


def test_who_decides_is_named_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderflow.cli.acting.getpass.getuser", lambda: "ada")
    assert (actor(""), actor(" grace  hopper ")) == ("ada", "grace hopper")
    monkeypatch.setattr("orderflow.cli.acting.getpass.getuser", lambda: "no name at all")
    with pytest.raises(ConfigurationError, match="--as NAME"):
        actor("")


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_nothing_said_means_nothing_done(verb: str, desk: AnsweringDesk) -> None:
    for words in ([verb], [verb, "--all", "--group", "payment-service"]):
        done = run(*words, "--yes", "--reason", "x")
        assert isinstance(done.exception, ConfigurationError)
        assert desk.calls == []
    assert run(verb, "--all", "--yes", "--reason", "x").exit_code == 0
    assert desk.calls[-1][:2] == (verb, ANY)


def test_a_discard_wants_a_reason_before_anything_is_read(desk: AnsweringDesk) -> None:
    done = run("discard", ONE)
    assert isinstance(done.exception, ConfigurationError)
    assert "--reason" in str(done.exception)
    assert desk.calls == []


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_a_dry_run_shows_and_does_nothing(verb: str, desk: AnsweringDesk) -> None:
    done = run(verb, "--group", "payment-service", "--dry-run")
    assert done.exit_code == 0
    assert "3 letters would be" in done.output
    assert verb not in desk.verbs
    shown = json.loads(run(verb, "--group", "payment-service", "--dry-run", "--json").stdout)
    assert shown.get("letters") == (3 if verb == "discard" else [])


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_more_than_one_is_asked_for_and_nobody_is_no_yes(verb: str, desk: AnsweringDesk) -> None:
    done = run(verb, "--group", "payment-service", "--reason", "x")
    assert isinstance(done.exception, OrderflowError)
    assert "--yes" in str(done.exception)
    assert verb not in desk.verbs


@pytest.mark.parametrize(("answer", "is_done"), [("y", True), ("n", False)])
def test_whoever_is_there_is_asked_and_sees_what_it_is_about(
    answer: str, is_done: bool, desk: AnsweringDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_somebody_is_here", lambda: True)
    done = CliRunner().invoke(commands.app, ["replay", "--cause", "Poison"], input=answer)
    assert "3 letters would be sent back" in done.stderr
    assert "Send 3 letters back?" in done.stderr
    assert ("replay" in desk.verbs) is is_done
    assert (done.exit_code == 0) is is_done


def test_one_letter_is_not_asked_for(desk: AnsweringDesk) -> None:
    sent = PlannedLetter(id=LetterId(DLT, 0, 12), to=REPLAY, key=ORDER.encode())
    desk.plan = ReplayPlan(to_send={REPLAY: 1}, letters=(sent,))
    desk.report = DeskReport(done=1, by_topic={REPLAY: 1})
    done = run("replay", ONE, "--as", "ada", "--reason", "ticket 4711")
    assert done.exit_code == 0, done.output
    _, chosen, options = desk.calls[-1]
    assert chosen.ids == frozenset([LetterId(DLT, 0, 12)])
    assert (options["by"], options["reason"]) == ("ada", "ticket 4711")
    assert "orderflow dlt list" in done.output
    assert f"orderflow trace {ORDER}" in done.output


def test_no_more_is_sent_than_was_shown(desk: AnsweringDesk) -> None:
    run("replay", "--all", "--yes", "--max", "100", "--out-of-order", "--replays-max", "9")
    plan, replay = desk.calls[-2][2], desk.calls[-1][2]
    assert (plan["max_letters"], replay["max_letters"]) == (100, 3)
    for options in (plan, replay):
        assert (options["keep_order"], options["replays_max"]) == (False, 9)


@pytest.mark.parametrize(
    ("why", "code"), [(Held.PARKED, 1), (Held.CUT, 1), (Held.REFUSED, 1), (Held.DEALT_WITH, 0)]
)
def test_a_letter_that_stays_open_is_no_success(why: Held, code: int, desk: AnsweringDesk) -> None:
    held = PlannedLetter(id=LetterId(DLT, 0, 12), held=why, why="because")
    desk.report = DeskReport(done=2, held={why: 1}, letters=(held,))
    done = run("replay", "--all", "--yes")
    assert done.exit_code == code
    assert f"{DLT}/0/12: {why}: because" in done.output


def test_a_commit_that_the_brokers_undid_is_said_and_is_no_success(desk: AnsweringDesk) -> None:
    desk.report = DeskReport(done=2, undone=1)
    done = run("replay", "--all", "--yes")
    assert done.exit_code == 1
    assert "1 letter open again" in done.output


def test_ctrl_c_ends_it_between_two_transactions_and_says_how_far_it_came(
    desk: AnsweringDesk,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    desk.during = lambda: os.kill(os.getpid(), signal.SIGINT)
    done = run("replay", "--all", "--yes")
    assert done.exit_code == 130
    assert "1 letter sent back" in done.output
    assert "2 letters not reached" in " ".join(done.output.split())
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_twice_gives_it_up(desk: AnsweringDesk) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    desk.during = twice
    done = run("replay", "--all", "--yes")
    assert done.exit_code == 130 or isinstance(done.exception, KeyboardInterrupt)
    assert "sent back" not in done.stdout


def test_the_report_for_programs(desk: AnsweringDesk) -> None:
    shown = json.loads(run("replay", "--all", "--yes", "--json").stdout)
    assert (shown["done"], shown["byTopic"], shown["stopped"]) == (3, {REPLAY: 3}, False)


def test_letters_are_listed_in_rows_or_one_by_one(desk: AnsweringDesk) -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert rows[0]["letters"] == 3
    assert rows[0]["firstLetter"].endswith("/0/123456789")
    each = json.loads(run("list", "--each", "--closed", "--json").stdout)
    assert [letter["id"] for letter in each] == [ONE, f"{DLT}/0/13"]
    assert desk.calls[-1] == ("letters", ANY, {"include_closed": True})


def test_no_letters_are_an_empty_list(desk: AnsweringDesk) -> None:
    desk.groups = []
    assert json.loads(run("list", "--json").stdout) == []
    done = run("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no such dead letter is open" in done.stderr


def test_a_letter_for_programs_has_evidence_headers_and_all_bytes(
    desk: AnsweringDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody's: at the usual address somebody's own stack may run.
    monkeypatch.setenv("ORDERFLOW_REGISTRY__URL", "http://127.0.0.1:9")
    desk.plan = ReplayPlan(
        to_send={REPLAY: 1}, letters=(PlannedLetter(id=LetterId(DLT, 0, 12), to=REPLAY),)
    )
    shown = json.loads(run("show", ONE, "--url", "http://127.0.0.1:9", "--json").stdout)
    assert shown["evidence"]["originalOffset"] == 54
    assert shown["evidence"]["lastFailure"] == "2026-01-31T09:55:32.000Z"
    assert shown["headers"] == [["ce_type", "orderflow.OrderCreated"], ["x-raw", "0x00ff"]]
    assert shown["payload"]["hex"] == b"\0\0\0\0\7junk".hex()
    assert shown["replay"]["to"] == REPLAY
    assert "did not answer" in shown["order"]["missing"]
