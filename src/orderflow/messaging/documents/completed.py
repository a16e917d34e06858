"""
What every OpenAPI document says alike, so that no service can forget a part of it.

A service describes its operations. This adds what can be derived or holds for all: names for
generated clients, tags, the answers 405 and 500, the header that comes with a status, types of
enumerations, formats of ids, and patterns that every engine compiles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import inspect

from orderflow.messaging.http.validation import END

Schema = dict[str, Any]

RETRY_AFTER: Schema = {
    "Retry-After": {
        "schema": {"type": "integer", "minimum": 0},
        "description": "After how many seconds to try again",
    }
}
ALLOW: Schema = {
    "Allow": {"schema": {"type": "string"}, "description": "The methods that there are here"}
}
PROCESS = "process"
OPERATORS = "operators"
_PROCESS_PATHS = frozenset(
    (
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/problems",
        "/problems/{slug}",
    )
)
_FOR_OPERATORS = ("For operators", "Operators")
_JSON_TYPE: Mapping[type, str] = {str: "string", int: "integer", bool: "boolean"}


def operations(paths: Mapping[str, Schema]) -> Iterator[tuple[str, str, Schema]]:
    """Path, method and description of every operation."""
    for path, item in paths.items():
        for method, described in item.items():
            yield path, method, described


def completed_paths(paths: Mapping[str, Schema], *, problem: Schema) -> Schema:
    """`paths` with what every operation has; `problem` is the schema of a problem document."""
    complete: Schema = {}
    for path, method, described in operations(paths):
        complete.setdefault(path, {})[method] = {
            "operationId": operation_id(method, path, lists=_has_items(path, paths)),
            "tags": [_tag(path, described)],
            **described,
            "responses": _responses(path, described["responses"], problem),
        }
    return complete


def tags(paths: Mapping[str, Schema]) -> list[Schema]:
    """Every tag of these paths, once, with what is under it."""
    names = dict.fromkeys(tag for *_, described in operations(paths) for tag in described["tags"])
    said = {
        PROCESS: "What every process answers: health, metrics, this document",
        OPERATORS: "What operators do; every command records who and why",
    }
    return [{"name": name, "description": said.get(name, f"About {name}")} for name in names]


def operation_id(method: str, path: str, *, lists: bool = False) -> str:
    """
    A name for a client's function: `listOrders`, `getOrder`, `getOrderHistory`, `payOrder`.

    Of a POST below a thing, the last part of the path is the verb. A thing in a path is singular
    where its id follows. Paths under `/api` get a name that ends so, since others are the same.
    """
    parts = [part for part in re.split(r"[/.]", path) if part]
    ends, parts = ("Api", parts[1:]) if parts[:1] == ["api"] else ("", parts)
    names = [
        _singular(part) if _is_parameter(parts, index + 1) else part
        for index, part in enumerate(parts)
        if not _is_parameter(parts, index)
    ]

    verb = "list" if lists and method == "get" else method
    if method == "post" and len(names) > 1 and names[-1] == parts[-1]:
        verb = names.pop()
    return _camel("-".join([verb, *names])) + ends


def _has_items(path: str, paths: Mapping[str, Schema]) -> bool:
    return any(other.startswith(f"{path}/{{") for other in paths)


def _is_parameter(parts: list[str], index: int) -> bool:
    return index < len(parts) and parts[index].startswith("{")


def _singular(name: str) -> str:
    return name.removesuffix("s")


def _camel(words: str) -> str:
    first, *others = re.split(r"[-_]", words)
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _tag(path: str, described: Schema) -> str:
    if path in _PROCESS_PATHS:
        return PROCESS
    if described["summary"].startswith(_FOR_OPERATORS):
        return OPERATORS
    return next(part for part in path.split("/") if part not in ("", "api"))


def _responses(path: str, responses: Mapping[str, Schema], problem: Schema) -> Schema:
    """With 405 and 500, and the headers that come with a status everywhere."""
    body = {"content": {"application/problem+json": {"schema": problem}}}
    complete: Schema = {
        **responses,
        "405": {"description": "There is no such method here", "headers": ALLOW, **body},
        "500": {"description": "Something went wrong on our side", **body},
    }

    for status, headers in (("429", RETRY_AFTER), ("503", RETRY_AFTER)):
        if status in complete and path not in _PROCESS_PATHS:
            answer = complete[status]
            complete[status] = {**answer, "headers": {**headers, **answer.get("headers", {})}}
    return dict(sorted(complete.items()))


def completed_schema(described: Any, *, uuids: Collection[str] = ()) -> Any:
    """
    A schema, or a document with schemas, that generators understand.

    An enumeration has a type; what may be absent is not said to be null then, which some generators
    take for a field that is always sent; a pattern ends with `$`, which RE2 knows; a text in a
    property named in `uuids` is a UUID.
    """
    if isinstance(described, list | tuple):
        return [completed_schema(inner, uuids=uuids) for inner in described]
    if not isinstance(described, dict):
        return described

    complete = {
        name: inner if name in _VALUES else completed_schema(inner, uuids=uuids)
        for name, inner in described.items()
    }
    if complete.get("default", ...) is None:
        del complete["default"]
    if "enum" in complete and "type" not in complete:
        complete["type"] = _JSON_TYPE[type(complete["enum"][0])]
    if isinstance(pattern := complete.get("pattern"), str):
        complete["pattern"] = pattern.replace(END, "$")
    if isinstance(properties := complete.get("properties"), dict):
        complete["properties"] = {
            name: _formatted(inner, "uuid") if name in uuids else inner
            for name, inner in properties.items()
        }
    return complete


_VALUES = frozenset(("example", "examples", "default", "enum", "const"))
"""Keys whose content is data, not a schema."""


def with_wire_names(components: Schema) -> Schema:
    """`components` whose descriptions name properties as a client knows them, not as in Python."""
    known = {name for schema in components.values() for name in schema.get("properties", ())}

    def on_the_wire(match: re.Match[str]) -> str:
        name = _camel(match[1])
        return f"`{name}`" if name in known else match[0]

    return {
        name: {**schema, "description": _PYTHON_NAME.sub(on_the_wire, schema["description"])}
        if "description" in schema
        else schema
        for name, schema in components.items()
    }


_PYTHON_NAME = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")


def with_moments(components: Schema, types: Iterable[Any]) -> Schema:
    """`components` with the format of every moment: msgspec says only that it is a text."""
    complete = {**components}
    for name, field in _moments(inspect.multi_type_info(types)):
        properties = complete[name]["properties"]
        moment = _formatted(properties[field], "date-time")
        complete[name] = {**complete[name], "properties": {**properties, field: moment}}
    return complete


def _moments(kinds: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Type and field of every moment in these types, by their names in a document."""
    waiting = [part for kind in kinds for part in _parts(kind)]
    seen: set[type] = set()
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType) and kind.cls not in seen:
            seen.add(kind.cls)
            for field in kind.fields:
                parts = list(_parts(field.type))
                waiting += parts
                if any(isinstance(part, inspect.DateTimeType) for part in parts):
                    yield kind.cls.__name__, field.encode_name


def _parts(kind: Any) -> Iterator[Any]:
    """The types that a field's type is made of."""
    match kind:
        case inspect.Metadata(type=inner):
            yield from _parts(inner)
        case inspect.UnionType(types=types):
            for inner in types:
                yield from _parts(inner)
        case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner):
            yield from _parts(inner)
        case inspect.DictType(value_type=inner):
            yield from _parts(inner)
        case _:
            yield kind


def _formatted(described: Schema, form: str) -> Schema:
    """With the format where the text is, of an optional property or a list too."""
    if described.get("type") == "string":
        return {**described, "format": form}
    if "anyOf" in described:
        return {**described, "anyOf": [_formatted(option, form) for option in described["anyOf"]]}
    return described
