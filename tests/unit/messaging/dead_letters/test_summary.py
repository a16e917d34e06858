"""Letters → rows by group, topic, type and cause; and which letters a filter takes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support.letters import DLT, NOON, a_letter

from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import LetterFilter
from orderflow.messaging.dead_letters.summary import OTHERS, ROWS_MAX, summarize
from orderflow.messaging.errors import ConfigurationError


def test_letters_with_all_in_common_are_a_row_and_the_largest_comes_first() -> None:
    letters = [
        a_letter(3, key=b"o1", exception_type="builtins.KeyError"),
        a_letter(5, key=b"o1", replays=3),
        a_letter(4, key=b"o2", cut=("value",)),
        a_letter(9, key=b"o1"),
    ]
    large, small = summarize(letters, replays_max=3)
    assert (large.group, large.topic, large.type, large.cause) == (
        "payment-service",
        "orders",
        "orderflow.OrderCreated",
        "Poison",
    )
    assert (large.letters, large.parked, large.cut) == (3, 1, 1)
    assert (large.orders, large.examples_of_orders) == (2, ("o1", "o2"))
    assert (large.oldest - NOON, large.newest - NOON) == (
        timedelta(seconds=4),
        timedelta(seconds=9),
    )
    assert large.first_letter == LetterId(DLT, 0, 4)
    assert (small.cause, small.letters, small.message) == ("KeyError", 1, "message 3")


def test_types_of_strangers_make_no_endless_table() -> None:
    rows = summarize(
        (a_letter(n, event_type=f"t{n}" * 200) for n in range(ROWS_MAX + 50)), replays_max=3
    )
    assert len(rows) == ROWS_MAX + 1
    assert (rows[0].type, rows[0].letters) == (OTHERS, 50)
    assert all(len(row.type) <= 200 for row in rows)


def test_what_says_nothing_of_itself_has_a_row_too() -> None:
    [row] = summarize([a_letter(1, event_type=None, exception_type=None, key=None)], replays_max=3)
    assert (row.type, row.cause, row.orders, row.examples_of_orders) == (
        "unknown",
        "unknown",
        0,
        (),
    )


LETTER = a_letter(7, key=b"order-7", replays=3)


@pytest.mark.parametrize(
    ("letter_filter", "takes"),
    [
        (LetterFilter(), True),
        (LetterFilter(group="payment-service"), True),
        (LetterFilter(group="another"), False),
        (LetterFilter(topic="orders"), True),
        (LetterFilter(topic=DLT), True),
        (LetterFilter(topic="payments"), False),
        (LetterFilter(type="ordercreated"), True),
        (LetterFilter(type="orderflow.OrderCreated"), True),
        (LetterFilter(type="OrderShipped"), False),
        (LetterFilter(cause="poison"), True),
        (LetterFilter(cause="orderflow.messaging.errors.Poison"), True),
        (LetterFilter(cause="KeyError"), False),
        (LetterFilter(key=b"order-7"), True),
        (LetterFilter(key=b"order-8"), False),
        (LetterFilter(order_id="order-7"), True),
        (LetterFilter(order_id="order-8"), False),
        (LetterFilter(since=NOON + timedelta(seconds=7)), True),
        (LetterFilter(since=NOON + timedelta(seconds=8)), False),
        (LetterFilter(until=NOON + timedelta(seconds=8)), True),
        (LetterFilter(until=NOON + timedelta(seconds=7)), False),
        (LetterFilter(ids=frozenset({LetterId(DLT, 0, 7)})), True),
        (LetterFilter(ids=frozenset({LetterId(DLT, 0, 8)})), False),
        (LetterFilter(parked=True), True),
        (LetterFilter(parked=False), False),
        (LetterFilter(group="payment-service", type="OrderShipped"), False),
    ],
)
def test_a_letter_fits_what_is_said(letter_filter: LetterFilter, takes: bool) -> None:
    assert letter_filter.takes(LETTER) is takes


def test_a_letter_is_open_until_somebody_decides() -> None:
    assert LETTER.is_open
    assert not a_letter(1, disposition=Disposition(kind=DispositionKind.OTHER)).is_open


def test_a_filter_by_name_has_a_limit() -> None:
    with pytest.raises(ConfigurationError, match="10000 at a time"):
        LetterFilter(ids=frozenset(LetterId(DLT, 0, offset) for offset in range(10_001)))
