"""What the books say, as sentences: at rest whatever is not balanced is wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orderflow.books.report import (
    Awaited,
    BooksReport,
    Check,
    CheckCount,
    Difference,
    Subject,
    Verdict,
)
from orderflow.trials.stack_books import SHOWN_MAX, sentences

BALANCED = BooksReport(
    verdict=Verdict.BALANCED,
    at=datetime(2026, 1, 31, tzinfo=UTC),
    duration_s=0.1,
    is_full=True,
    orders=10,
    compared=10,
    checks=(),
)
DIFFERENCE = Difference(
    check=Check.MONEY, subject=Subject.ORDER, id="7", expected="payment: 100", actual="order: 0"
)


def test_balanced_books_say_nothing() -> None:
    assert sentences(BALANCED) == []


def test_differences_are_said_with_both_sides_and_counted_beyond_the_first() -> None:
    report = msgspec.structs.replace(
        BALANCED,
        verdict=Verdict.DIFFERENT,
        differences=(DIFFERENCE,) * 9,
        checks=(CheckCount(check=Check.MONEY, checked=10, differences=9),),
    )
    said = sentences(report)
    assert said[0] == "money: order 7: payment: 100; order: 0"
    assert len(said) == SHOWN_MAX + 1
    assert said[-1] == f"{9 - SHOWN_MAX} more differences in the books"


def test_what_is_still_not_settled_at_rest_is_wrong_too() -> None:
    report = msgspec.structs.replace(
        BALANCED,
        verdict=Verdict.UNSETTLED,
        in_flight=(DIFFERENCE,),
        awaited=(Awaited(who="payment-service", what="lag 12", accounts=1),),
    )
    assert sentences(report) == [
        "not settled: money: order 7: payment: 100; order: 0",
        "the books wait for payment-service: lag 12",
    ]
