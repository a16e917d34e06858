"""
Currencies: which there are, how many digits their minor unit has, and amounts as people read them.

Source: ISO 4217, as the package `iso4217` has it. Codes without a minor unit (gold, tests, no
currency) are none here. A withdrawn currency stays on old orders: its digits are not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from iso4217 import Currency

DIGITS: Mapping[str, int] = MappingProxyType(
    {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
)
"""The digits after the decimal point, by code: EUR 2, JPY 0, KWD 3."""


def is_currency(code: str) -> bool:
    return code in DIGITS


def known_currency(code: str) -> str:
    """The code. Raises ValueError, in words for whoever sent it, if there is no such currency."""
    if not is_currency(code):
        raise ValueError(f"{code} is no currency of ISO 4217")
    return code


def amount_text(amount_minor: int, currency: str) -> str:
    """`1,234.50 EUR`, `1,234 JPY`; of an unknown currency the minor units, as such."""
    digits = DIGITS.get(currency)
    if digits is None:
        return f"{amount_minor:,} minor units of {currency}"
    return f"{Decimal(amount_minor).scaleb(-digits):,.{digits}f} {currency}"
