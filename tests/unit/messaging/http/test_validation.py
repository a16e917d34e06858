"""What is wrong with a body: all of it, by field, in words that need no Python."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from orderflow.messaging.http.bodies import decoded
from orderflow.messaging.http.problems import Problem
from orderflow.messaging.http.validation import END, ERRORS_MAX


class Colour(StrEnum):
    RED = "RED"
    GREEN = "GREEN"


def even(number: str) -> str:
    if number != "EVEN":
        raise ValueError(f"{number} is not even")
    return number


Code = Annotated[str, Meta(pattern=f"^[A-Z]+{END}", description="capital letters")]
Checked = Annotated[Code, Meta(extra={"checks": (even,)})]


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=100)]


class Body(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    customer_id: Code
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=3)]
    colour: Colour | None = None
    prices: dict[Code, Annotated[int, Meta(ge=0)]] = {}
    ratio: Annotated[float, Meta(gt=0, le=1)] = 1.0
    at: Annotated[datetime, Meta(tz=True)] | None = None
    checked: Checked | None = None
    text: Annotated[str, Meta(max_length=3)] = ""
    flag: bool = False

    def __post_init__(self) -> None:
        if self.checked is not None:
            even(self.checked)
        if self.flag and self.colour is None:
            raise ValueError("flag needs a colour")


BODY = msgspec.json.Decoder(Body)
GOOD: dict[str, Any] = {"customerId": "A", "lines": [{"sku": "B", "quantity": 1}]}
A_NUMBER = "must be a whole number from 1 to 100"


def errors(body: object) -> dict[str, str]:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(Problem) as refused:
        decoded(BODY, content)
    assert refused.value.status == 422
    listed = refused.value.marshal()["errors"]
    assert all(error["detail"] in str(refused.value.detail) for error in listed)
    return {error["pointer"]: error["detail"] for error in listed}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"customerId": "a"}, {"#/customerId": "must be capital letters"}),
        ({"customerId": "A\n"}, {"#/customerId": "must be capital letters"}),
        ({"customerId": 7}, {"#/customerId": "must be capital letters"}),
        ({"customerId": None}, {"#/customerId": "must be capital letters"}),
        ({"lines": []}, {"#/lines": "must be a list of 1 to 3 items"}),
        ({"lines": {}}, {"#/lines": "must be a list of 1 to 3 items"}),
        ({"lines": [[]]}, {"#/lines/0": "must be an object"}),
        ({"lines": [{"sku": "A", "quantity": 1.5}]}, {"#/lines/0/quantity": A_NUMBER}),
        (
            {"lines": [{"sku": "A", "quantity": True}]},
            {"#/lines/0/quantity": A_NUMBER},
        ),
        ({"lines": [{"sku": "A", "quantity": 10**30}]}, {"#/lines/0/quantity": A_NUMBER}),
        ({"colour": "BLUE"}, {"#/colour": "must be one of RED, GREEN"}),
        ({"prices": {"a/~": 1}}, {"#/prices/a~1~0": "must be capital letters"}),
        ({"prices": {"A": -1}}, {"#/prices/A": "must be a whole number of at least 0"}),
        ({"ratio": 0}, {"#/ratio": "must be a number above 0 and of at most 1"}),
        (
            {"at": "2026-01-31T09:05:00"},
            {"#/at": "must be a moment with its offset, as 2026-01-31T09:05:00Z"},
        ),
        ({"checked": "ODD"}, {"#/checked": "ODD is not even"}),
        ({"text": "four"}, {"#/text": "must be a text of at most 3 characters"}),
        ({"flag": 1}, {"#/flag": "must be true or false"}),
        ({"flag": True}, {"#": "flag needs a colour"}),
    ],
)
def test_a_field_says_what_it_must_be(changed: dict[str, Any], expected: dict[str, str]) -> None:
    assert errors(GOOD | changed) == expected


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    assert errors(
        {"lines": [{"sku": "x"}, {"quantity": 0, "sku": "B"}], "checked": "ODD", "new": 1}
    ) == {
        "#/customerId": "is missing; it must be capital letters",
        "#/lines/0/sku": "must be capital letters",
        "#/lines/0/quantity": "is missing; it must be a whole number from 1 to 100",
        "#/lines/1/quantity": A_NUMBER,
        "#/checked": "ODD is not even",
        "#/new": "is no field; there are customerId, lines, colour, prices, ratio, at, checked, "
        "text, flag",
    }


def test_a_body_of_another_kind_and_one_nested_too_deeply_have_an_answer_too() -> None:
    assert errors([]) == {"#": "must be an object"}
    assert errors(b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}") == {
        "#": "is not what this field can be"
    }


def test_an_answer_has_a_bounded_number_of_errors() -> None:
    assert len(errors(GOOD | {f"field{number}": 1 for number in range(1_000)})) == ERRORS_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([field.encode_name for field in msgspec.structs.fields(Body)])


@given(changed=st.dictionaries(FIELDS, JSON, max_size=3))
def test_whatever_is_refused_has_errors_and_no_word_of_python(changed: dict[str, Any]) -> None:
    try:
        decoded(BODY, msgspec.json.encode(GOOD | changed))
    except Problem as refused:
        if refused.status == 400:
            return
        for error in refused.marshal()["errors"]:
            assert not {"`", "regex", "Expected", "matching"} & set(error["detail"].split())
            assert "`" not in error["detail"]
            assert error["detail"] != "is not what this field can be"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b'{"customerId": "\xff"}', "the body is not UTF-8"),
        (b"{", "the body ends before its JSON does"),
        (b"{,}", "object keys must be strings (byte 1)"),
    ],
)
def test_what_is_no_json_is_said_in_words(body: bytes, detail: str) -> None:
    with pytest.raises(Problem) as refused:
        decoded(BODY, body)
    assert (refused.value.status, refused.value.detail) == (400, detail)
