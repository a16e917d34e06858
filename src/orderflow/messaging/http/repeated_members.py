"""
Members of a JSON object that are there twice: refused, since no two readers agree on which counts.

JSON's grammar lets them pass, and a decoder takes the last one in silence. Source: RFC 8259, 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from json import JSONDecoder
from typing import Any

from orderflow.messaging.http.validation import ERRORS_MAX, FieldError, escaped

_Pairs = Sequence[tuple[str, Any]]


def repeated_members(body: bytes) -> list[FieldError]:
    """
    The members of a body's objects that are there more than once, each by its place; at most 20.

    `body` is JSON that was decoded, into a type or not. Costs a few microseconds of the usual body.
    Raises RecursionError if it is nested too deeply.
    """
    text = body.decode().strip()
    try:
        _QUICK.raw_decode(text)
    except _RepeatedError:
        places = _repeated(_EVERY_MEMBER.raw_decode(text)[0], "#")
        return [
            FieldError(pointer=pointer, detail="is there more than once")
            for pointer in islice(places, ERRORS_MAX)
        ]
    return []


class _RepeatedError(Exception):
    pass


class _Members(list[tuple[str, Any]]):
    """An object's members, all of them."""


def _each_once(members: _Pairs) -> None:
    if len(dict(members)) != len(members):
        raise _RepeatedError


def _repeated(value: Any, pointer: str) -> Iterator[str]:
    if isinstance(value, _Members):
        times = Counter(name for name, _inner in value)
        yield from (f"{pointer}/{escaped(name)}" for name, count in times.items() if count > 1)
        for name, inner in value:
            yield from _repeated(inner, f"{pointer}/{escaped(name)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _repeated(inner, f"{pointer}/{index}")


def _decoder(hook: Any) -> JSONDecoder:
    """Numbers are not made: of many digits that is slow, or refused."""
    return JSONDecoder(object_pairs_hook=hook, parse_int=len, parse_float=len, strict=False)


_QUICK = _decoder(_each_once)
_EVERY_MEMBER = _decoder(_Members)
