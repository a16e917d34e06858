"""Members of a body's objects that are there twice."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from orderflow.messaging.http import bodies
from orderflow.messaging.http.problems import Problem
from orderflow.messaging.http.repeated_members import repeated_members

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, Meta(ge=1)]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    customer: str
    lines: tuple[Line, ...] = ()


DECODER = msgspec.json.Decoder(Order)


def refused(body: bytes) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as problem:
        bodies.decoded(DECODER, body)
    assert problem.value.status == 422
    errors: list[dict[str, Any]] = problem.value.extras["errors"]
    return [(error["pointer"], error["detail"]) for error in errors]


@given(JSON)
def test_a_body_whose_members_are_there_once_passes(value: Any) -> None:
    assert repeated_members(json.dumps(value).encode()) == []
    assert repeated_members(b" \r\n\t" + msgspec.json.encode(value) + b" \n") == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b'{"customer": "a", "customer": "b"}', ["#/customer"]),
        (b'{"customer": "a", "custome\\u0072": "a"}', ["#/customer"]),
        (b' {"customer": "a", "lines": [], "customer": "a", "customer": "c"}', ["#/customer"]),
        (
            b'{"customer": "a", "lines": [{"sku": "a", "quantity": 1, "quantity": 9}]}',
            ["#/lines/0/quantity"],
        ),
        (
            b'{"customer": "a", "lines": [{"sku": "a", "sku": "b", "quantity": 1}], "lines": []}',
            ["#/lines", "#/lines/0/sku"],
        ),
    ],
)
def test_a_member_that_is_there_twice_is_refused_by_its_place(
    body: bytes, pointers: list[str]
) -> None:
    assert refused(body) == [(pointer, "is there more than once") for pointer in pointers]


def test_what_is_wrong_besides_is_told_too() -> None:
    body = b'{"customer": "a", "customer": 5, "line": []}'
    assert [pointer for pointer, _ in refused(body)] == ["#/customer", "#/customer", "#/line"]
    assert refused(b'{"customer": 5, "customer": "a"}')[0] == (
        "#/customer",
        "is there more than once",
    )


def test_long_numbers_deep_lists_and_other_names_are_no_repeats() -> None:
    assert repeated_members(b'{"a": ' + b"9" * 60_000 + b', "b": 1e999, "A": 1}') == []
    assert repeated_members(b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}") == []


def test_of_many_repeats_twenty_are_told() -> None:
    names = [f'"n{number // 2}": 1' for number in range(400)]
    assert len(repeated_members(f"{{{', '.join(names)}}}".encode())) == 20
