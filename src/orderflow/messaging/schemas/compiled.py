"""
Functions that read and write one event type in one Avro schema, made for the pair when it is met.

Guarantee: what they return is what the general way (fastavro, then msgspec) returns, byte for byte
and field for field. They do only what is usual. Whatever else they meet, they raise: a damaged or
longer body, a value of another type, a number that does not fit. Then the general way has the word,
for the result or for the error. A pair with anything that is not named in here gets no function.

They take a third of the general way's time, because they build the event, not first a dict of it.
The text of the function holds numbers and names of the event type's own fields, nothing of a
schema, which anybody may have registered.

Source: Avro 1.12, binary encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from msgspec import inspect

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FRAME_BYTES = 5
DEPTH_MAX = 4
_PLAIN = {"string", "long", "int", "boolean"}
_SHORT = 4_096
_LONG_BITS = 64
_CONTINUES = 0x80


class Unusual(Exception):
    """The value is one for the general way."""


class _NotMade(Exception):
    """The pair has something that no function is made for."""


def compile_reader(schema: Mapping[str, Any], event_type: type[T]) -> Callable[[bytes], T] | None:
    """
    A function that takes a whole framed value and returns the event; None if there is none for this
    pair. It raises whatever it meets, Unusual or another exception: see the module.
    """
    made = _Reader(schema)
    try:
        lines = made.record(schema, inspect.type_info(event_type), "event", depth=0)
    except (_NotMade, KeyError, TypeError):
        return None
    body = [f"at = {FRAME_BYTES}", *lines, "if at != len(b): raise Unusual", "return event"]
    return _function("read(b)", body, made.names)


def compile_writer(
    schema: Mapping[str, Any], event_type: type[Any], prefix: bytes
) -> Callable[[Any], bytes] | None:
    """
    A function that returns the value of an event, `prefix` in front; as `compile_reader` else.
    """
    made = _Writer(schema)
    try:
        lines = made.record(schema, inspect.type_info(event_type), "event", depth=0)
    except (_NotMade, KeyError, TypeError):
        return None
    made.names["PREFIX"] = prefix
    return _function("write(event)", ["out = [PREFIX]", *lines, 'return b"".join(out)'], made.names)


class _Maker:
    """What both have in common: `names` are the values that the text refers to."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._named: Mapping[str, Any] = schema.get("__named_schemas", {})
        self._numbers = count()
        self.names: dict[str, Any] = {"Unusual": Unusual, "EPOCH": EPOCH, "MS": MILLISECOND}

    def bind(self, value: object) -> str:
        """A new name for `value`."""
        name = f"c{next(self._numbers)}"
        self.names[name] = value
        return name

    def variable(self) -> str:
        return f"v{next(self._numbers)}"

    def resolve(self, kind: Any) -> Any:
        """A named type stands for what was defined under its name."""
        return self._named.get(kind, kind) if isinstance(kind, str) else kind


def _pairs(
    schema: Mapping[str, Any], info: inspect.Type, depth: int
) -> Iterator[tuple[Any, inspect.Field | None]]:
    """The schema's fields in their order, each with the event type's field of its name."""
    if not isinstance(info, inspect.StructType) or schema["type"] != "record" or depth > DEPTH_MAX:
        raise _NotMade
    ours = {field.encode_name: field for field in info.fields}
    names = {field["name"] for field in schema["fields"]}
    if not names or any(field.required and name not in names for name, field in ours.items()):
        raise _NotMade
    for field in schema["fields"]:
        yield field["type"], ours.get(field["name"])


def _is_moment(kind: Any) -> bool:
    return (
        isinstance(kind, Mapping)
        and kind["type"] == "long"
        and (kind.get("logicalType") == "timestamp-millis")
    )


def _plain(kind: Any) -> Any:
    """The name of a primitive type, however it is written; None for any other."""
    if isinstance(kind, Mapping) and "logicalType" not in kind:
        kind = kind["type"]
    return kind if isinstance(kind, str) and kind in _PLAIN else None


def _optional(kind: list[Any]) -> tuple[int, Any]:
    """The place of `null` in a union of it and one other type, and that type."""
    if len(kind) != 2 or kind.count("null") != 1:
        raise _NotMade
    place = kind.index("null")
    return place, kind[1 - place]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


class _Reader(_Maker):
    """Lines that read from the bytes `b` at `at`, and go on behind."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.names["number"] = _read_number

    def record(
        self, schema: Mapping[str, Any], info: inspect.Type, into: str, *, depth: int
    ) -> list[str]:
        lines, arguments = [], []
        for kind, field in _pairs(schema, info, depth):
            variable = self.variable()
            lines += self.value(kind, field.type if field else None, variable, depth=depth)
            if field is not None:
                arguments.append(f"{field.name}={variable}")
        assert isinstance(info, inspect.StructType)
        return [*lines, f"{into} = {self.bind(info.cls)}({', '.join(arguments)})"]

    def value(self, kind: Any, info: inspect.Type | None, into: str, *, depth: int) -> list[str]:
        """`info`: what the event type wants; None: read and dropped."""
        kind = self.resolve(kind)
        if isinstance(kind, list):
            return self._optional(kind, info, into, depth)
        if _is_moment(kind) and (info is None or info == inspect.DateTimeType()):
            return [*_MOMENT, *_indented(self._number("n")), f"{into} = EPOCH + n * MS"]

        plain = _plain(kind)
        if plain == "string" and (info is None or info == inspect.StrType()):
            return self._text(into)
        if plain in {"long", "int"} and (info is None or info == inspect.IntType()):
            return self._number(into)
        if plain == "boolean" and (info is None or info == inspect.BoolType()):
            check = f"if {into} > 1: raise Unusual"
            return [f"{into} = b[at]", check, f"{into} = {into} == 1", "at += 1"]
        return self._of_several(kind, info, into, depth)

    def _of_several(self, kind: Any, info: inspect.Type | None, into: str, depth: int) -> list[str]:
        if not isinstance(kind, Mapping):
            raise _NotMade

        if kind["type"] == "enum" and isinstance(info, inspect.EnumType):
            members = self.bind(tuple(info.cls(symbol) for symbol in _symbols(kind, info)))
            return [
                *self._number(into),
                f"if {into} < 0: raise Unusual",
                f"{into} = {members}[{into}]",
            ]
        if kind["type"] == "array" and isinstance(info, inspect.VarTupleType):
            return self._array(kind["items"], info.item_type, into, depth)
        if kind["type"] == "record" and info is not None:
            return self.record(kind, info, into, depth=depth + 1)
        raise _NotMade

    def _number(self, into: str) -> list[str]:
        return [
            f"{into} = b[at]",
            "at += 1",
            f"if {into} > 127: {into}, at = number(b, at - 1)",
            f"{into} = {into} >> 1 ^ -({into} & 1)",
        ]

    def _text(self, into: str) -> list[str]:
        # A length beyond the end is found at the end: `at` is not the length of the whole then.
        return [
            "n = b[at]",
            "at += 1",
            "if n > 127: n, at = number(b, at - 1)",
            "if n & 1: raise Unusual",
            "n = at + (n >> 1)",
            f"{into} = b[at:n].decode()",
            "at = n",
        ]

    def _optional(
        self, kind: list[Any], info: inspect.Type | None, into: str, depth: int
    ) -> list[str]:
        null, other = _optional(kind)
        lines = self.value(other, _not_none(info) if info else None, into, depth=depth)
        return [
            f"{into} = b[at]",
            "at += 1",
            f"if {into} == {2 * null}: {into} = None",
            f"elif {into} == {2 - 2 * null}:",
            *_indented(lines),
            "else: raise Unusual",
        ]

    def _array(self, items: Any, info: inspect.Type, into: str, depth: int) -> list[str]:
        """In one block, as everybody writes it; a negative count, or another block, is unusual."""
        # Items take a byte at least, so that no count can keep the loop from the end of the bytes.
        item, number = self.variable(), self.variable()
        lines = self.value(items, info, item, depth=depth)

        return [
            *self._number(number),
            f"{into} = []",
            f"if {number} < 0: raise Unusual",
            f"for _ in range({number}):",
            *_indented([*lines, f"{into}.append({item})"]),
            f"if {number}:",
            "    if b[at]: raise Unusual",
            "    at += 1",
            f"{into} = tuple({into})",
        ]


# A time from 1978 to 2109 is six bytes, and a loop over them would take longer than all the rest of
# a small event: the bits of all are moved at once.
_MOMENT = [
    'n = int.from_bytes(b[at : at + 6], "little")',
    "if n & 0x808080808080 == 0x8080808080:",
    "    m = n & 0x7F | n >> 1 & 0x3F80 | n >> 2 & 0x1FC000 | n >> 3 & 0xFE00000",
    "    n = m | n >> 4 & 0x7F0000000 | n >> 5 & 0x3F800000000",
    "    n = n >> 1 ^ -(n & 1)",
    "    at += 6",
    "else:",
]


class _Writer(_Maker):
    """Lines that add to the list `out` what an expression's value is on the wire."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(schema)
        self.names |= {"SHORT": _SHORT_NUMBERS, "number": _written_number}

    def record(
        self, schema: Mapping[str, Any], info: inspect.Type, of: str, *, depth: int
    ) -> list[str]:
        lines: list[str] = []
        parts: list[str] = []
        for kind, field in _pairs(schema, info, depth):
            if field is None:
                raise _NotMade
            value = f"{of}.{field.name}"
            if simple := self._simple(self.resolve(kind), field.type, value):
                parts += simple
            else:
                lines += [*_added(parts), *self.value(kind, field.type, value, depth=depth)]
                parts = []
        return [*lines, *_added(parts)]

    def value(self, kind: Any, info: inspect.Type, of: str, *, depth: int) -> list[str]:
        kind = self.resolve(kind)
        if isinstance(kind, list):
            return self._optional(kind, info, of, depth)
        if simple := self._simple(kind, info, of):
            return _added(simple)
        if isinstance(kind, Mapping) and kind["type"] == "record":
            return self.record(kind, info, of, depth=depth + 1)
        if not isinstance(kind, Mapping) or not isinstance(info, inspect.VarTupleType):
            raise _NotMade

        item, items = self.variable(), self.variable()
        lines = self.value(kind["items"], info.item_type, item, depth=depth)
        return [
            f"{items} = {of}",
            f"if len({items}):",
            f"    out.append(number(len({items})))",
            f"    for {item} in {items}:",
            *_indented(_indented(lines)),
            "out.append(SHORT[0])",
        ]

    def _simple(self, kind: Any, info: inspect.Type, of: str) -> list[str]:
        """The expressions of a value that is one piece or two; empty for any other kind."""
        plain = _plain(kind)
        if plain == "string" and info == inspect.StrType():
            text = self.variable()
            return [f"SHORT[len({text} := {of}.encode())]", text]
        if plain in {"long", "int"} and info == inspect.IntType():
            return [f"number({of})"]
        if plain == "boolean" and info == inspect.BoolType():
            return [f"{self.bind({True: bytes([1]), False: bytes(1)})}[{of}]"]
        if _is_moment(kind) and info == inspect.DateTimeType():
            return [f"number(({of} - EPOCH) // MS)"]

        if isinstance(kind, Mapping) and kind["type"] == "enum":
            if not isinstance(info, inspect.EnumType):
                raise _NotMade
            symbols = _symbols(kind, info)
            places = {info.cls(symbol): _written_number(n) for n, symbol in enumerate(symbols)}
            return [f"{self.bind(places)}[{of}]"]
        return []

    def _optional(self, kind: list[Any], info: inspect.Type, of: str, depth: int) -> list[str]:
        null, other = _optional(kind)
        variable = self.variable()
        lines = self.value(other, _not_none(info), variable, depth=depth)
        return [
            f"{variable} = {of}",
            f"if {variable} is None: out.append(SHORT[{null}])",
            "else:",
            f"    out.append(SHORT[{1 - null}])",
            *_indented(lines),
        ]


def _added(parts: list[str]) -> list[str]:
    return [f"out += ({', '.join(parts)},)"] if parts else []


def _not_none(info: inspect.Type) -> inspect.Type:
    """What an optional field is when it is there."""
    types = info.types if isinstance(info, inspect.UnionType) else ()
    rest = [part for part in types if part != inspect.NoneType()]
    if len(types) != 2 or len(rest) != 1:
        raise _NotMade
    return rest[0]


def _symbols(kind: Mapping[str, Any], info: inspect.EnumType) -> list[str]:
    symbols = [str(symbol) for symbol in kind["symbols"]]
    if not set(symbols) <= {member.value for member in info.cls}:
        raise _NotMade
    return symbols


def _read_number(b: bytes, at: int) -> tuple[int, int]:
    """A varint of 64 bits, not yet unfolded from its zigzag, and where it ends."""
    number = shift = 0
    while True:
        byte = b[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < _CONTINUES:
            break
        shift += 7
    if number >> _LONG_BITS:
        raise Unusual
    return number, at


def _make_number(number: int) -> bytes:
    """A zigzag varint."""
    # Of `int` alone: the general way decides what else may stand for a number.
    if type(number) is not int or not -(1 << 63) <= number < 1 << 63:
        raise Unusual
    left = number << 1 ^ number >> 63
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


_SHORT_NUMBERS = tuple(map(_make_number, range(_SHORT)))


def _written_number(number: int) -> bytes:
    if type(number) is int and 0 <= number < _SHORT:
        return _SHORT_NUMBERS[number]
    return _make_number(number)


def _function(head: str, body: list[str], names: dict[str, Any]) -> Callable[[Any], Any]:
    text = "\n".join([f"def {head}:", *_indented(body)])
    # Of numbers, of the names of this module's own values, and of a type's own fields: see above.
    exec(compile(text, f"<{head}>", "exec"), names)  # noqa: S102
    made: Callable[[Any], Any] = names[head.partition("(")[0]]
    return made
