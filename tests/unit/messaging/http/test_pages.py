"""Pages: what is shown, and where the next one begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import IDENTIFIER, is_identifier
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


@pytest.mark.parametrize("text", ["", "-a", "a b", "a\n", "a" * 65, "ä"])
def test_what_is_no_identifier(text: str) -> None:
    assert not is_identifier(text)


THINGS = Cursors("things", is_identifier)


@pytest.mark.parametrize("query", ["", "cursor="])
def test_without_a_cursor_it_is_the_first_page(query: str) -> None:
    assert THINGS.read(QueryParams(query)) is None


@given(st.from_regex(IDENTIFIER, fullmatch=True))
def test_a_cursor_opens_to_what_it_was_made_of(item: str) -> None:
    assert THINGS.read(QueryParams({"cursor": THINGS.of(item)})) == item


@given(st.from_regex(IDENTIFIER, fullmatch=True), st.data())
def test_a_cursor_that_lost_its_end_is_refused(item: str, data: st.DataObject) -> None:
    """Taken for a place in the list, it would skip items, or end the list too early."""
    cursor = THINGS.of(item)
    left = data.draw(st.integers(1, len(cursor) - 1))
    with pytest.raises(Problem, match="The request is not valid"):
        THINGS.read(QueryParams({"cursor": cursor[:left]}))


@pytest.mark.parametrize(
    "cursor",
    ["xx", "order-1", "%00", "YQ==", "ä", Cursors("others", len).of("a"), THINGS.of("no match")],
)
def test_a_cursor_that_is_none_of_this_list_is_refused(cursor: str) -> None:
    with pytest.raises(Problem, match="The request is not valid"):
        THINGS.read(QueryParams({"cursor": cursor}))
