"""Pages: what is shown, and where the next one begins."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from orderflow.messaging.http.pages import cursor_value, opaque, opened, page
from orderflow.messaging.http.parameters import is_identifier
from orderflow.messaging.http.problems import Problem


@pytest.mark.parametrize(
    ("rows", "items", "cursor"),
    [
        ("", "", None),
        ("ab", "ab", None),
        ("abc", "abc", None),
        ("abcd", "abc", "C"),
    ],
)
def test_a_row_more_than_the_limit_says_that_there_is_a_next_page(
    rows: str, items: str, cursor: str | None
) -> None:
    assert page(rows, limit=3, cursor_of=str.upper) == (items, cursor)


def test_without_a_cursor_it_is_the_first_page() -> None:
    for query in (QueryParams(""), QueryParams("cursor=")):
        assert cursor_value(query, is_identifier) == ""


def test_a_cursor_that_no_page_ends_with_is_refused() -> None:
    assert cursor_value(QueryParams("cursor=order-1"), is_identifier) == "order-1"
    with pytest.raises(Problem, match="The request is not valid"):
        cursor_value(QueryParams("cursor=%00"), is_identifier)


@pytest.mark.parametrize("text", ["", "-a", "a b", "a\n", "a" * 65, "ä"])
def test_what_is_no_identifier(text: str) -> None:
    assert not is_identifier(text)


@pytest.mark.parametrize("item", ["a", "payment-service", "orders.payment-service.dlt/0/12", "ä"])
def test_an_opaque_cursor_opens_to_what_it_was_made_of(item: str) -> None:
    assert opened(QueryParams({"cursor": opaque(item)}), len) == item


def test_without_an_opaque_cursor_there_is_none() -> None:
    assert opened(QueryParams(""), len) is None


@pytest.mark.parametrize("cursor", ["", "a", "%00", "YQ==", "YR", "gA", opaque("no match")])
def test_an_opaque_cursor_that_no_page_ends_with_is_refused(cursor: str) -> None:
    with pytest.raises(Problem, match="The request is not valid"):
        opened(QueryParams({"cursor": cursor}), lambda item: item == "a")
