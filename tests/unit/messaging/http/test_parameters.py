"""Query parameters as typed values."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta
from starlette.datastructures import QueryParams

from orderflow.messaging.http.parameters import query_value, refuse_unknown
from orderflow.messaging.http.problems import Problem

LIMIT = Annotated[int, Meta(ge=1, le=200)]


def limit(text: str) -> object:
    return query_value(QueryParams([("limit", text)]), "limit", LIMIT, default=50)


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
