"""What the copies have, against what was announced: every planted difference is found and named."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.books.payments import in_lake, in_warehouse, paid

from orderflow.books.accounts import CopyLetters, LakeAccount, WarehouseAccount, WarehouseRow
from orderflow.books.judge_copies import (
    copy_explanation,
    judge_lake,
    judge_warehouse,
    unexplained_copies,
)
from orderflow.books.report import Check, Subject

PAID, REFUNDED = paid("1", 7), paid("1", 9, kind="PaymentRefunded")
FAILED = paid("1", 7, kind="PaymentFailed")
ROW = in_warehouse("1", "REFUNDED")
PAYMENT = ROW.payment_id


def warehouse(**changes: Any) -> WarehouseAccount:
    account = WarehouseAccount(order_id="1", events=(PAID, REFUNDED), rows=(ROW,), since={0: 0})
    return replace(account, **changes)


def lake(**changes: Any) -> LakeAccount:
    account = LakeAccount(
        partition=0,
        first=0,
        end=2_000,
        events=(("1", PAID), ("1", REFUNDED)),
        rows=(in_lake("1", PAID), in_lake("1", REFUNDED)),
        since=0,
    )
    return replace(account, **changes)


@pytest.mark.parametrize(
    ("events", "status"),
    [((PAID,), "SUCCEEDED"), ((PAID, REFUNDED), "REFUNDED"), ((FAILED,), "FAILED")],
)
def test_a_warehouse_with_the_latest_state_agrees(events: tuple[Any, ...], status: str) -> None:
    assert judge_warehouse(warehouse(events=events, rows=(in_warehouse("1", status),))) == []


@pytest.mark.parametrize(
    ("rows", "actual"),
    [
        ((), "no row"),
        ((replace(ROW, refunded_minor=1_991),), "1990 − 1991 EUR"),
        ((replace(ROW, captured_minor=1_989),), "1989 − 1990 EUR"),
        ((replace(ROW, currency="USD"),), "1990 − 1990 USD"),
        ((replace(ROW, customer_id="d"),), "of d"),
        ((in_warehouse("1", "SUCCEEDED"),), "SUCCEEDED, 1990 − 0 EUR"),
        ((in_warehouse("1", "FAILED"),), "FAILED"),
    ],
)
def test_what_the_warehouse_lacks_or_says_otherwise_is_named(
    rows: tuple[WarehouseRow, ...], actual: str
) -> None:
    [found] = judge_warehouse(warehouse(rows=rows))
    difference = found.difference
    assert (difference.check, difference.subject) == (Check.WAREHOUSE, Subject.PAYMENT)
    assert difference.id == PAYMENT
    assert "REFUNDED, 1990 − 1990 EUR of c, the last at payments-0@9" in difference.expected
    assert actual in difference.actual
    assert difference.command == "orderflow trace 1"


def test_a_row_of_nobodys_payment_is_named() -> None:
    strange = replace(ROW, payment_id="strange")
    [found] = judge_warehouse(warehouse(rows=(ROW, strange)))
    assert (found.difference.id, found.difference.expected) == (
        "strange",
        "payments: no event of this payment",
    )
    assert judge_warehouse(warehouse(rows=(ROW, strange), is_complete=False)) == []


def test_what_was_gone_before_the_sink_began_is_not_missed_and_is_compared_if_it_is_there() -> None:
    assert judge_warehouse(warehouse(rows=(), since={0: 10})) == []
    assert judge_warehouse(warehouse(rows=(), since={0: 9})) != []
    changed = replace(ROW, captured_minor=1_989)
    assert judge_warehouse(warehouse(rows=(changed,), since={0: 10})) != []


def test_a_refund_alone_says_what_was_captured() -> None:
    assert judge_warehouse(warehouse(events=(REFUNDED,))) == []


def test_an_open_dead_letter_explains_its_own_payment_only() -> None:
    other = replace(paid("1", 11), number=2, subject_id="payment-2", event_id="event-2")
    letters = CopyLetters(open={REFUNDED.event_id: "payments.payments-warehouse.dlt/0/3"})
    account = warehouse(events=(PAID, REFUNDED, other), rows=(), letters=letters)
    found = {
        each.difference.id: copy_explanation(account, each) for each in judge_warehouse(account)
    }
    assert found == {
        PAYMENT: "open dead letter: `orderflow dlt show payments.payments-warehouse.dlt/0/3`",
        "payment-2": "",
    }
    left = unexplained_copies(account, judge_warehouse(account))
    assert [difference.id for difference in left] == ["payment-2"]


def test_what_was_laid_aside_may_be_missing_or_there() -> None:
    letters = CopyLetters(discarded=frozenset({REFUNDED.event_id}))
    for status in ("SUCCEEDED", "REFUNDED"):
        rows = (in_warehouse("1", status),)
        assert judge_warehouse(warehouse(rows=rows, letters=letters)) == []
    assert judge_warehouse(warehouse(rows=(), letters=letters)) != [], "the capture was not"
    assert judge_warehouse(warehouse(events=(REFUNDED,), rows=(), letters=letters)) == []


def test_a_lake_with_a_row_for_each_record_agrees() -> None:
    assert judge_lake(lake()) == []


@pytest.mark.parametrize(
    ("rows", "actual"),
    [
        ((), "lake: no row"),
        ((in_lake("1", PAID), in_lake("1", PAID)), "lake: 2 rows"),
        ((replace(in_lake("1", PAID), amount_minor=1_991),), "1991 EUR"),
        ((replace(in_lake("1", PAID), currency="USD"),), "1990 USD"),
        ((replace(in_lake("1", PAID), event_id="other"),), "event other"),
        ((replace(in_lake("1", PAID), type="PaymentFailed"),), "PaymentFailed"),
        ((replace(in_lake("1", PAID), order_id="2"),), "lake: PaymentSucceeded"),
    ],
)
def test_what_the_lake_lacks_doubles_or_says_otherwise_is_named(
    rows: tuple[Any, ...], actual: str
) -> None:
    [found] = judge_lake(lake(rows=(*rows, in_lake("1", REFUNDED))))
    difference = found.difference
    assert (difference.check, difference.id) == (Check.LAKE, PAYMENT)
    assert difference.expected == "payments: PaymentSucceeded, 1990 EUR at payments-0@7"
    assert actual in difference.actual


def test_a_row_where_no_event_is_is_strange_unless_it_repeats_one() -> None:
    twice = replace(in_lake("1", PAID), offset=12)
    rows = (*lake().rows, twice)
    [found] = judge_lake(lake(rows=rows))
    assert found.difference.id == PAYMENT
    assert found.difference.expected == "payments: no event at payments-0@12"
    assert judge_lake(lake(rows=rows, repeated=frozenset({PAID.event_id}))) == []
    assert judge_lake(lake(rows=rows, is_complete=False)) == []


def test_the_lake_lacks_nothing_from_before_it_began_or_that_was_laid_aside() -> None:
    rows = (in_lake("1", REFUNDED),)
    assert judge_lake(lake(rows=rows, since=8)) == []
    assert (
        judge_lake(lake(rows=rows, letters=CopyLetters(discarded=frozenset({PAID.event_id})))) == []
    )
    letters = CopyLetters(open={PAID.event_id: "payments.lake-exporter.dlt/0/1"})
    [found] = judge_lake(account := lake(rows=rows, letters=letters))
    assert "payments.lake-exporter.dlt/0/1" in copy_explanation(account, found)
