"""
What is wrong with a body, in words for whoever sent it: every field at once, each by its place.

The words come from the field's own type. A pattern is never shown: the field's `description` says
what it means. Source: RFC 9457, 3.1, whose example has `errors` of `detail` and `pointer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, inspect

END = r"(?![\s\S])"
"""
The end of a text, in a pattern: Python's `$` lets a newline pass. Documents have `$` instead, which
means the same to everybody else; RE2 (Go, Rust) has nothing of this kind.
"""

ERRORS_MAX = 20
"""In one answer: a body of 64 KiB can be wrong in thousands of places."""

_PATH = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_SIZED: Mapping[type[inspect.Type], tuple[str, str]] = {
    inspect.StrType: ("a text", "characters"),
    inspect.VarTupleType: ("a list", "items"),
    inspect.ListType: ("a list", "items"),
    inspect.FrozenSetType: ("a list", "items"),
    inspect.DictType: ("an object", "members"),
}
_SIMPLE: Mapping[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.DateTimeType: "a moment with its offset, as 2026-01-31T09:05:00Z",
    inspect.UUIDType: "a UUID",
    inspect.NoneType: "null",
}


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """`pointer`: where in the body, RFC 6901 as a URI fragment. `detail`: what is wrong there."""

    pointer: str
    detail: str


def field_errors(wanted: Any, body: bytes, error: msgspec.ValidationError) -> list[FieldError]:
    """
    All that is wrong with a body that could not be decoded as `wanted`; never empty.

    `error` is what decoding found first. It is the answer when the body is nested so deeply that
    nothing else can read it, and when a rule across fields is broken.
    """
    try:
        value = msgspec.json.decode(body)
        errors = [
            FieldError(pointer=pointer, detail=detail)
            for pointer, detail in islice(_wrong(_type(wanted), value, "#"), ERRORS_MAX)
        ]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        errors = []
    return errors or [_first(error)]


def expectation(wanted: Any) -> str:
    """What a value of this type is, as the end of a sentence: `a whole number from 1 to 200`."""
    return _expected(_type(wanted))


def _first(error: msgspec.ValidationError) -> FieldError:
    """The decoder's own finding; its words, where a rule of ours did not write them, are Python."""
    place = _PATH.search(str(error))
    steps = _STEP.findall(place[1]) if place else ()
    pointer = "#" + "".join(f"/{escaped(name or index)}" for name, index in steps)
    detail = str(error.__cause__) if error.__cause__ else "is not what this field can be"
    return FieldError(pointer=pointer, detail=detail)


def _wrong(kind: inspect.Type, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Pointer and detail of each place in `value` that does not fit."""
    plain, _ = _plain(kind)

    match plain:
        case inspect.UnionType(types=types):
            yield from _none_fits(kind, types, value, pointer)
        case inspect.StructType() if isinstance(value, dict):
            yield from _wrong_fields(plain, value, pointer)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item) if isinstance(
            value, list
        ):
            yield from _wrong_value(kind, value, pointer)
            for index, inner in enumerate(value):
                yield from _wrong(item, inner, f"{pointer}/{index}")

        case inspect.DictType(key_type=key, value_type=item) if isinstance(value, dict):
            yield from _wrong_value(kind, value, pointer)
            for name, inner in value.items():
                place = f"{pointer}/{escaped(name)}"
                yield from _wrong(key, name, place)
                yield from _wrong(item, inner, place)
        case _:
            yield from _wrong_value(kind, value, pointer)


def _wrong_fields(
    kind: inspect.StructType, value: Mapping[str, Any], pointer: str
) -> Iterator[tuple[str, str]]:
    fields = {field.encode_name: field for field in kind.fields}
    for name, inner in value.items():
        place = f"{pointer}/{escaped(name)}"
        if name in fields:
            yield from _wrong(fields[name].type, inner, place)
        elif kind.forbid_unknown_fields:
            yield place, f"is no field; there are {', '.join(fields)}"

    for name, field in fields.items():
        if field.required and name not in value:
            yield f"{pointer}/{escaped(name)}", f"is missing; it must be {_expected(field.type)}"


def _none_fits(
    kind: inspect.Type, types: tuple[inspect.Type, ...], value: Any, pointer: str
) -> Iterator[tuple[str, str]]:
    """An optional value is wrong as that what it is an option of; other unions as a whole."""
    if value is None and any(isinstance(other, inspect.NoneType) for other in types):
        return
    others = [other for other in types if not isinstance(other, inspect.NoneType)]
    if len(others) == 1:
        yield from _wrong(others[0], value, pointer)
    elif not any(_fits(other, value) for other in others):
        yield pointer, _sentence(kind)


def _wrong_value(kind: inspect.Type, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if not _fits(kind, value):
        yield pointer, _sentence(kind)
        return
    for check in _plain(kind)[1].get("checks", ()):
        try:
            check(value)
        except ValueError as error:
            yield pointer, str(error)


def _fits(kind: inspect.Type, value: Any) -> bool:  # noqa: PLR0911 - one return for each type
    """Whether a single value is of that kind, or a collection is one, of that size."""
    match plain := _plain(kind)[0]:
        case inspect.StrType():
            return isinstance(value, str) and _sized(plain, value) and _matches(plain, value)
        case inspect.IntType():
            return _is_number(value) and value == int(value) and _bounded(plain, value)
        case inspect.FloatType():
            return _is_number(value) and _bounded(plain, value)
        case inspect.VarTupleType() | inspect.ListType() | inspect.FrozenSetType():
            return isinstance(value, list) and _sized(plain, value)
        case inspect.DictType():
            return isinstance(value, dict) and _sized(plain, value)

        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.NoneType():
            return value is None
        case inspect.StructType():
            return isinstance(value, dict)
        case inspect.EnumType(cls=choices):
            return isinstance(value, str | int) and value in [choice.value for choice in choices]
        case inspect.DateTimeType(tz=tz):
            return _converts(value, Annotated[datetime, Meta(tz=tz)])
        case inspect.UUIDType():
            return _converts(value, UUID)
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sized(kind: Any, value: Sequence[Any] | Mapping[str, Any]) -> bool:
    least, most = kind.min_length or 0, kind.max_length
    return least <= len(value) and (most is None or len(value) <= most)


def _bounded(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _matches(kind: inspect.StrType, value: str) -> bool:
    return kind.pattern is None or re.search(kind.pattern, value) is not None


def _converts(value: Any, wanted: Any) -> bool:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return False
    return True


def _sentence(kind: inspect.Type) -> str:
    return f"must be {_expected(kind)}"


def _expected(kind: inspect.Type) -> str:
    plain, described = _plain(kind)

    match plain:
        case inspect.StrType(pattern=str()):
            return str(described.get("description", "a text of another form"))
        case (
            inspect.StrType()
            | inspect.VarTupleType()
            | inspect.ListType()
            | inspect.FrozenSetType()
            | inspect.DictType()
        ):
            thing, parts = _SIZED[type(plain)]
            return f"{thing}{_range(plain.min_length, plain.max_length, parts)}"
        case inspect.IntType() | inspect.FloatType():
            number = "a whole number" if isinstance(plain, inspect.IntType) else "a number"
            return f"{number}{_bounds(plain)}"
        case inspect.EnumType(cls=choices):
            return f"one of {', '.join(str(choice.value) for choice in choices)}"
        case inspect.UnionType(types=types):
            return " or ".join(_expected(other) for other in types)
    return _SIMPLE.get(type(plain), "an object")


def _range(least: int | None, most: int | None, things: str) -> str:
    if least and most:
        return f" of {least} to {most} {things}"
    if most is not None:
        return f" of at most {most} {things}"
    return f" of at least {least} {things}" if least else ""


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    words = (
        ("of at least", kind.ge),
        ("above", kind.gt),
        ("of at most", kind.le),
        ("below", kind.lt),
    )
    said = " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)
    return f" {said}" if said else ""


def _plain(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """The type without its annotations, and these: a description, checks."""
    described: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata):
        described = {**(kind.extra_json_schema or {}), **(kind.extra or {}), **described}
        kind = kind.type
    return kind, described


def escaped(name: str) -> str:
    """RFC 6901: `~` and `/` in a name, cut where it is longer than any field's."""
    return name[:100].replace("~", "~0").replace("/", "~1")


@cache
def _type(wanted: Any) -> inspect.Type:
    return inspect.type_info(wanted)
