"""Parameters of paths and queries as typed values."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.datastructures import QueryParams

from orderflow.messaging.http import problems
from orderflow.messaging.http.validation import expectation

E = TypeVar("E", bound=StrEnum)

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}"
"""What ids from outside look like: 1 to 64 characters, fit for paths, logs and file names."""

_IDENTIFIER = re.compile(IDENTIFIER)


def is_identifier(text: str) -> bool:
    """Whether all of `text` is an identifier."""
    return _IDENTIFIER.fullmatch(text) is not None


def refuse_unknown(
    query: QueryParams, known: Collection[str], *, repeatable: Collection[str] = ()
) -> None:
    """
    A misspelt filter must not be a list of everything. Raises a problem (422) that names a
    parameter that is not among the `known` ones, or was given twice and is not `repeatable`.

    `http_api` does so for every operation, with the parameters of its document.
    """
    for name, _value in query.multi_items():
        if name not in known:
            raise problems.invalid(f"{name} is no parameter; {_listed(known)}")
        if name not in repeatable and len(query.getlist(name)) > 1:
            raise problems.invalid(f"{name} can be given once")


def _listed(known: Collection[str]) -> str:
    if not known:
        return "none is known here"
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"


def query_value(query: QueryParams, name: str, wanted: Any, *, default: Any = None) -> Any:
    """
    The parameter `name` as `wanted`, a type that msgspec converts to, with its bounds.

    `default` if it was not sent. A whole number is written in digits: no point, no exponent. Raises
    a problem (422) that names the parameter and says what is wrong.
    """
    text = query.get(name)
    if text is None:
        return default
    try:
        value = msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise problems.invalid(f"{name} must be {expectation(wanted)}") from error

    # The conversion takes "1e1" and "1.0" for whole numbers.
    if type(value) is int and not text.isdigit():
        raise problems.invalid(f"{name} is written in digits, not {text!r}")
    return value


def query_moment(query: QueryParams, name: str) -> datetime | None:
    """
    The parameter `name` as a moment in UTC; None if it was not sent.

    Moments of the first and the last year that can be written stand for no end: they become ones
    that a year can be added to, or taken from. Raises a problem (422) that names the parameter.
    """
    text = query.get(name)
    if text is not None and " " in text:
        raise problems.invalid(f"{name}: in an address + is written %2B, as in 09:00:00%2B01:00")
    moment: datetime | None = query_value(query, name, Annotated[datetime, Meta(tz=True)])
    if moment is None:
        return None

    # Before the conversion: at the ends of the calendar an offset leads out of it.
    return min(max(moment, MOMENT_MIN), MOMENT_MAX).astimezone(UTC)


MOMENT_MIN = datetime(2, 1, 1, tzinfo=UTC)
MOMENT_MAX = datetime(9998, 12, 31, tzinfo=UTC)


def query_identifier(query: QueryParams, name: str) -> str | None:
    """The parameter `name` as an id from outside; None if not sent. Raises a problem (422)."""
    text = query.get(name)
    if text is not None and not is_identifier(text):
        raise problems.invalid(
            f"{name} must be 1 to 64 letters, digits and . _ : @ + -, beginning with a letter or "
            "digit"
        )
    return text


def query_choices(query: QueryParams, name: str, choices: type[E]) -> tuple[E, ...]:
    """
    The parameter `name` as members of `choices`, each once; it may be repeated, and each may be
    several with commas between. Empty if it was not sent. Raises a problem (422) that lists them.
    """
    values = [value for text in query.getlist(name) for value in text.split(",")]
    return tuple(dict.fromkeys(_choice(name, value, choices) for value in values))


def query_choice(query: QueryParams, name: str, choices: type[E]) -> E | None:
    """
    The parameter `name` as a member of `choices`; None if it was not sent.

    Raises a problem (422) that lists the choices.
    """
    value = query.get(name)
    return None if value is None else _choice(name, value, choices)


def _choice(name: str, value: str, choices: type[E]) -> E:
    try:
        return choices(value)
    except ValueError:
        raise problems.invalid(f"{name} is one of {', '.join(choices)}, not {value!r}") from None
