"""`orderflow books`: what people see, and exit codes."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from msgspec.structs import replace
from rich.console import Console

from orderflow.books.report import (
    MEANINGS,
    Awaited,
    BooksReport,
    Check,
    CheckCount,
    Copy,
    CopyState,
    Difference,
    Explained,
    Subject,
    Verdict,
)
from orderflow.cli.books import exit_code, screen
from orderflow.cli.called import as_called, line_as_called

ORDER = "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"
MONEY = Difference(
    check=Check.MONEY,
    subject=Subject.ORDER,
    id=ORDER,
    expected="order: PAID, 1990 EUR",
    actual="payment: captured − refunded is 0 EUR",
    command=f"orderflow trace {ORDER}",
)
REPORT = BooksReport(
    verdict=Verdict.BALANCED,
    at=datetime(2026, 11, 29, tzinfo=UTC),
    duration_s=1.25,
    is_full=False,
    orders=12_000_000,
    compared=21_500,
    checks=tuple(CheckCount(check=check, checked=10_000_000) for check in Check),
)


def text(report: BooksReport) -> str:
    out = StringIO()
    Console(file=out, width=80).print(screen(report), crop=False)
    return out.getvalue()


def test_every_check_has_a_row_and_a_meaning() -> None:
    shown = text(REPORT)
    assert all(f"{check.value} " in shown for check in Check)
    assert set(MEANINGS) == set(Check)
    assert "the books balance: 21,500 orders compared in 1.2 s" in shown


def test_a_difference_shows_both_figures_and_what_shows_more() -> None:
    counts = tuple(
        replace(row, differences=1) if row.check is Check.MONEY else row for row in REPORT.checks
    )
    shown = text(replace(REPORT, verdict=Verdict.DIFFERENT, differences=(MONEY,), checks=counts))
    for words in (MONEY.expected, MONEY.actual, line_as_called(MONEY.command), "differ in 1 place"):
        assert words in shown


def test_what_is_in_flight_names_whom_it_waits_for() -> None:
    awaited = (Awaited(who="payment-service", what="12 to go", accounts=3),)
    shown = text(replace(REPORT, verdict=Verdict.UNSETTLED, in_flight=(MONEY,), awaited=awaited))
    assert "3 in flight, wait for payment-service: 12 to go" in shown


def test_an_explained_difference_shows_its_reason() -> None:
    reason = "open dead letter: `orderflow dlt show orders.payment-service.dlt/0/7`"
    shown = text(replace(REPORT, explained=(Explained(difference=MONEY, reason=reason),)))
    assert as_called(reason) in shown


def test_a_command_is_not_wrapped_and_named_as_this_one_was_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orderflow.cli.called.called", lambda: f"/{'deep/' * 20}bin/orderflow")
    shown = text(replace(REPORT, verdict=Verdict.DIFFERENT, differences=(MONEY,)))
    assert f"\n  /{'deep/' * 20}bin/{MONEY.command}\n" in shown


def test_the_copies_that_were_compared_are_named_and_one_that_is_away_too() -> None:
    copies = (
        Copy(name="warehouse", state=CopyState.AWAY, why="database: away"),
        Copy(name="lake", state=CopyState.COMPARED),
    )
    note = "not compared: the warehouse is away: database: away"
    shown = text(replace(REPORT, verdict=Verdict.UNSETTLED, copies=copies, notes=(note,)))
    assert note in shown
    assert "also compared: lake" in shown
    assert "also compared" not in text(REPORT)


def test_strangers_words_do_not_reach_the_terminal() -> None:
    nasty = replace(MONEY, id="\x1b[2J", actual="a\x07b")
    shown = text(replace(REPORT, verdict=Verdict.DIFFERENT, differences=(nasty,)))
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown
    assert "a\\x07b" in shown


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(Verdict.BALANCED, 0), (Verdict.DIFFERENT, 1), (Verdict.UNSETTLED, 3)],
)
def test_the_exit_code_is_the_verdict(verdict: Verdict, code: int) -> None:
    assert exit_code(replace(REPORT, verdict=verdict)) == code


def test_it_fits_80_columns() -> None:
    shown = text(replace(REPORT, verdict=Verdict.DIFFERENT, differences=(MONEY,)))
    assert max(map(len, shown.splitlines())) <= 80
