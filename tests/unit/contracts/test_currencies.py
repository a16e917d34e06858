"""Which currencies there are, and their amounts as people read them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.contracts.currencies import DIGITS, amount_text, is_currency, known_currency

AMOUNTS = st.integers(min_value=0, max_value=10**15)


def test_currencies_are_those_of_iso_4217_that_have_a_minor_unit() -> None:
    assert (DIGITS["EUR"], DIGITS["JPY"], DIGITS["KWD"], DIGITS["CLF"]) == (2, 0, 3, 4)
    assert 140 < len(DIGITS) < 180
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in DIGITS)
    assert [
        code for code in ("ZZZ", "QQQ", "XXX", "XTS", "XAU", "DEM", "") if is_currency(code)
    ] == []


def test_a_code_that_is_no_currency_is_refused_in_words() -> None:
    assert known_currency("KWD") == "KWD"
    with pytest.raises(ValueError, match=r"^ZZZ is no currency of ISO 4217$"):
        known_currency("ZZZ")


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123_450, "EUR", "1,234.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (14_200, "JPY", "14,200 JPY"),
        (1_234_567, "KWD", "1,234.567 KWD"),
        (999_999_999_999_999, "EUR", "9,999,999,999,999.99 EUR"),
        (14_200, "ZZZ", "14,200 minor units of ZZZ"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert amount_text(minor, currency) == text


@given(minor=AMOUNTS, currency=st.sampled_from(["JPY", "EUR", "KWD", "CLF"]))
def test_the_text_of_an_amount_loses_nothing(minor: int, currency: str) -> None:
    number, code = amount_text(minor, currency).split()
    assert Decimal(number.replace(",", "")).scaleb(DIGITS[code]) == minor
