"""The auditor and `GET /books`: what is told of the books, and when nothing is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.support.documented import assert_documented
from tests.support.operations_api import operations_api
from tests.unit.services.operations.test_cluster import FakeClock, assert_problem

from orderflow.books.report import (
    Awaited,
    BooksReport,
    Check,
    CheckCount,
    Difference,
    Explained,
    Subject,
    Verdict,
)
from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.work.reasons import split
from orderflow.services.operations.auditor import DIFFERENCES, IN_FLIGHT, Auditor, LastAudit
from orderflow.services.operations.openapi import document

AWAY = Unavailable("could not connect to 10.0.0.7", resource="order's database")


def difference(number: int, check: Check = Check.LEDGER) -> Difference:
    return Difference(
        check=check,
        subject=Subject.ORDER,
        id=f"order-{number}",
        expected="payment: 100",
        actual="the provider: 0",
        command=f"orderflow trace order-{number}",
    )


def report(
    verdict: Verdict = Verdict.BALANCED, *, differences: int = 0, in_flight: int = 0, **more: Any
) -> BooksReport:
    return BooksReport(
        verdict=verdict,
        at=datetime.now(UTC),
        duration_s=1.5,
        is_full=True,
        orders=9,
        compared=9,
        checks=(
            CheckCount(check=Check.LEDGER, checked=9, differences=differences, in_flight=in_flight),
            CheckCount(check=Check.STOCK, checked=3),
        ),
        differences=tuple(difference(number) for number in range(differences)),
        **more,
    )


DIFFERENT = report(Verdict.DIFFERENT, differences=3)


class ScriptedBooks:
    """Books whose audits are `ends`, one after the other; after the last the auditor is stopped."""

    def __init__(self, *ends: BooksReport | Exception) -> None:
        self.ends = list(ends)
        self.stop = threading.Event()
        self.clock = FakeClock()
        self.last = LastAudit()
        self.closed = False
        self.auditor = Auditor(lambda _pause: self, self.last, every_s=0.01, clock=self.clock)

    def run(self) -> BooksReport:
        end = self.ends.pop(0)
        self.clock.passed_s += 10
        if not self.ends:
            self.stop.set()
        if isinstance(end, Exception):
            raise end
        return end

    def close(self) -> None:
        self.closed = True

    def audited(self) -> Auditor:
        self.auditor.run(self.stop)
        assert self.closed
        return self.auditor


@pytest.fixture(autouse=True)
def nothing_exported() -> Iterator[None]:
    yield
    DIFFERENCES.hide()
    IN_FLIGHT.hide()


def exported(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_what_an_audit_counted_is_exported_check_by_check() -> None:
    ScriptedBooks(report(Verdict.DIFFERENT, differences=3, in_flight=2)).audited()
    assert exported("orderflow_books_differences", check="ledger") == 3
    assert exported("orderflow_books_differences", check="stock") == 0
    assert exported("orderflow_books_in_flight", check="ledger") == 2


@pytest.mark.parametrize(
    "end", [report(), report(Verdict.UNSETTLED), report(Verdict.DIFFERENT, differences=3)]
)
def test_whatever_an_audit_finds_the_process_does_what_it_is_for(end: BooksReport) -> None:
    assert ScriptedBooks(end).audited().reasons() == []


def test_an_audit_that_fails_is_a_reason_that_leaves_the_process_ready() -> None:
    auditor = ScriptedBooks(AWAY).audited()
    assert split(auditor.reasons()) == ([], ["books: order's database: away"])


def test_before_the_first_audit_has_ended_there_is_no_reason_and_no_report() -> None:
    books = ScriptedBooks(report())
    assert books.auditor.reasons() == []
    assert (books.last.report, books.last.missing) == (None, "the first audit has not ended yet")


def test_while_a_side_is_away_the_last_report_stays_and_no_number_is_told_as_new() -> None:
    books = ScriptedBooks(DIFFERENT, AWAY)
    auditor = books.audited()
    assert books.last.report is DIFFERENT
    assert auditor.reasons() == ["books: order's database: away"]
    assert exported("orderflow_books_differences", check="ledger") is None


def test_after_a_failure_the_next_audit_counts_again() -> None:
    books = ScriptedBooks(AWAY, report())
    assert books.audited().reasons() == []
    assert exported("orderflow_books_differences", check="ledger") == 0


def test_the_age_is_that_of_the_last_audit_that_was_decided() -> None:
    auditor = ScriptedBooks(report(), report(Verdict.UNSETTLED), AWAY).audited()
    assert auditor.age_s() == 20
    never = ScriptedBooks(AWAY, AWAY).audited()
    assert never.age_s() == 20
    assert exported("orderflow_books_age_seconds") == 20


def test_books_that_nobody_has_set_up_are_said_so_and_end_nothing() -> None:
    stop, last = threading.Event(), LastAudit()

    def no_books(_pause: Any) -> ScriptedBooks:
        raise ConfigurationError("ORDERFLOW_BOOKS__DATABASES__ORDER is not set")

    auditor = Auditor(no_books, last, every_s=60)
    thread = threading.Thread(target=auditor.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert auditor.reasons() == ["books: ORDERFLOW_BOOKS__DATABASES__ORDER is not set"]
    assert last.report is None


class WaitingBooks:
    """An audit that waits for what is in flight, for ever."""

    def __init__(self, pause: Callable[[float], object]) -> None:
        self.pause = pause
        self.begun = threading.Event()

    def run(self) -> BooksReport:
        self.begun.set()
        self.pause(3600)
        raise AssertionError("it went on")

    def close(self) -> None:
        pass


def test_an_audit_that_waits_ends_with_the_process_and_that_is_no_failure() -> None:
    stop, opened = threading.Event(), []

    def books(pause: Callable[[float], object]) -> WaitingBooks:
        opened.append(WaitingBooks(pause))
        return opened[0]

    auditor = Auditor(books, LastAudit(), every_s=60)
    thread = threading.Thread(target=auditor.run, args=(stop,), daemon=True)
    thread.start()
    eventually(lambda: opened and opened[0].begun.is_set(), within_s=5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert auditor.reasons() == []


def test_an_error_that_nobody_expected_ends_the_role() -> None:
    with pytest.raises(ZeroDivisionError):
        ScriptedBooks(ZeroDivisionError()).audited()


def last_of(*ends: BooksReport | Exception) -> LastAudit:
    books = ScriptedBooks(*ends)
    books.audited()
    return books.last


def test_the_books_are_the_last_report() -> None:
    found = report(
        Verdict.DIFFERENT,
        differences=2,
        explained=(Explained(difference=difference(7, Check.STOCK), reason="a dead letter"),),
        awaited=(Awaited(who="payment-service", what="lag 12", accounts=3),),
        positions={"orders-0": 12},
    )
    with operations_api(last_audit=last_of(found)) as api:
        answer = api.get("/books")
        one_check = api.get("/books?check=stock").json()
        first = api.get("/books?limit=1").json()
    assert_documented(document(), "/books", answer)
    books = answer.json()
    assert (books["verdict"], books["orders"], books["missing"]) == ("DIFFERENT", 9, "")
    assert 0 <= books["ageS"] < 60
    assert [row["check"] for row in books["checks"]] == ["ledger", "stock"]
    assert [row["id"] for row in books["differences"]] == ["order-0", "order-1"]
    assert books["explained"][0]["reason"] == "a dead letter"
    assert books["awaited"] == [{"who": "payment-service", "what": "lag 12", "accounts": 3}]
    assert [row["check"] for row in one_check["checks"]] == ["stock"]
    assert (one_check["differences"], len(one_check["explained"])) == ([], 1)
    assert [row["id"] for row in first["differences"]] == ["order-0"]
    assert first["checks"][0]["differences"] == 2


def test_before_an_audit_has_ended_it_is_503_and_says_why() -> None:
    with operations_api(last_audit=last_of(AWAY)) as api:
        answer = api.get("/books")
    problem = assert_problem(answer, 503, "books-not-audited")
    assert problem["detail"] == "order's database: away"
    assert answer.headers["retry-after"] == "10"


def test_a_report_that_is_old_says_why_there_is_none_of_now() -> None:
    with operations_api(last_audit=last_of(DIFFERENT, AWAY)) as api:
        assert api.get("/books").json()["missing"] == "order's database: away"


@pytest.mark.parametrize("query", ["?check=money2", "?limit=0", "?limit=1001", "?chekc=money"])
def test_a_wrong_question_about_the_books_is_refused(query: str) -> None:
    with operations_api(last_audit=last_of(report())) as api:
        assert_problem(api.get(f"/books{query}"), 422, "invalid-request")
