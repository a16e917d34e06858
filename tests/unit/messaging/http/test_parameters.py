"""Query parameters as typed values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from starlette.datastructures import QueryParams

from orderflow.messaging.http.parameters import (
    query_choices,
    query_identifier,
    query_moment,
    query_value,
    refuse_unknown,
)
from orderflow.messaging.http.problems import Problem

LIMIT = Annotated[int, Meta(ge=1, le=200)]


def limit(text: str) -> object:
    return query_value(QueryParams([("limit", text)]), "limit", LIMIT, default=50)


class Size(StrEnum):
    SMALL = "SMALL"
    LARGE = "LARGE"


def test_choices_are_repeated_or_have_commas_between_and_each_counts_once() -> None:
    for text in ("size=LARGE&size=SMALL", "size=LARGE,SMALL", "size=LARGE,SMALL&size=LARGE"):
        assert query_choices(QueryParams(text), "size", Size) == (Size.LARGE, Size.SMALL)
    assert query_choices(QueryParams(), "size", Size) == ()


@pytest.mark.parametrize("text", ["size=", "size=SMALL,", "size=SMALL&size=", "size=small"])
def test_a_choice_that_there_is_not_is_a_problem_that_lists_them(text: str) -> None:
    with pytest.raises(Problem) as refused:
        query_choices(QueryParams(text), "size", Size)
    assert (refused.value.detail or "").startswith("size is one of SMALL, LARGE, not ")


def test_an_id_from_outside_is_one_or_a_problem_that_names_the_parameter() -> None:
    assert query_identifier(QueryParams("customerId=c-1"), "customerId") == "c-1"
    assert query_identifier(QueryParams(), "customerId") is None
    for text in ("customerId=", "customerId=%00", f"customerId={'c' * 65}", "customerId=-"):
        with pytest.raises(Problem, match="not valid") as refused:
            query_identifier(QueryParams(text), "customerId")
        assert (refused.value.detail or "").startswith("customerId must be ")


def test_a_whole_number_is_written_in_digits() -> None:
    assert (limit("1"), limit("200")) == (1, 200)
    assert query_value(QueryParams(), "limit", LIMIT, default=50) == 50


@pytest.mark.parametrize("text", ["1e1", "1.0", "-0", "+1", "0", "201", "", " 1", "1_0", "x"])
def test_anything_else_is_a_problem_that_names_the_parameter(text: str) -> None:
    with pytest.raises(Problem) as refused:
        limit(text)
    assert refused.value.status == 422
    assert str(refused.value.detail).startswith("limit")


@pytest.mark.parametrize("query", ["", "group=a", "group=a&topic=b"])
def test_parameters_that_are_known_pass(query: str) -> None:
    refuse_unknown(QueryParams(query), ("group", "topic"))


@pytest.mark.parametrize(
    ("query", "words"),
    [("gruop=a", "gruop is no parameter; there are group, topic"), ("group=a&group=b", "once")],
)
def test_a_parameter_that_nobody_knows_or_that_comes_twice_is_refused(
    query: str, words: str
) -> None:
    with pytest.raises(Problem) as refused:
        refuse_unknown(QueryParams(query), ("group", "topic"))
    assert words in str(refused.value.detail)


def moment(text: str) -> datetime | None:
    return query_moment(QueryParams([("from", text)]), "from")


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999-12:00",
    ],
)
def test_a_moment_at_the_end_of_the_calendar_can_be_counted_with(text: str) -> None:
    found = moment(text)
    assert found is not None
    assert found - timedelta(days=365) < found < found + timedelta(days=365)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_any_other_moment_is_itself_in_utc(original: datetime) -> None:
    found = moment(original.astimezone(UTC).isoformat())
    assert found == original.astimezone(UTC)
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2026-01-31T09:00:00 01:00", "%2B"),
        ("2026-01-31T09:00:00", "offset"),
        ("yesterday", "from"),
    ],
)
def test_what_is_no_moment_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(Problem) as refused:
        moment(text)
    assert hint in str(refused.value.detail)
