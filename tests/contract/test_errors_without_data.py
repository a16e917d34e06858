"""No error that may quote data is put into a text: `error_text` tells it without."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("messaging", "services", "neighbours")
SOURCES = [path for room in ROOMS for path in (ROOT / "src/orderflow" / room).rglob("*.py")]

OURS = {"OrderflowError"}
"""Errors whose texts are written in this house; filled with what derives from them."""

ALLOWED = {
    # A client reads what is wrong with its own body, and nobody else does.
    "messaging/http/bodies.py",
    "messaging/http/parameters.py",
    "messaging/http/validation.py",
    "neighbours/psp/api.py",
    # A schema is no data.
    "messaging/schemas/avro.py: _NO_AVRO",
    "messaging/schemas/catalogue.py",
    "messaging/schemas/compatibility.py",
}
PRIVATE = {"_NotOurs", "ConnectionLost", "Unreadable", "Unusable"}
"""Raised and caught in one module, with words of its own."""


def test_no_text_is_made_of_an_error_of_a_driver_or_a_library() -> None:
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    ours = _derived(trees.values()) | PRIVATE
    found = [
        f"{name}: {kinds}"
        for path, tree in trees.items()
        for name, kinds in _told(path, tree)
        if not set(kinds.split(", ")) <= ours and not _is_allowed(name, kinds)
    ]
    assert found == []


def _is_allowed(name: str, kinds: str) -> bool:
    return bool({name, f"{name}: {kinds}"} & ALLOWED)


def _derived(trees: Iterable[ast.Module]) -> set[str]:
    """The names of the classes below OrderflowError."""
    classes = {
        node.name: {ast.unparse(base) for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    ours = set(OURS)
    for _ in classes:
        more = {name for name, bases in classes.items() if bases & ours}
        if more <= ours:
            break
        ours |= more
    return ours


def _told(path: Path, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each caught error that is made a text of: the module, and the types that are caught."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        kinds = ast.unparse(handler.type) if handler.type else "BaseException"
        if any(_is_text_of(node, handler.name) for node in ast.walk(handler)):
            yield path.relative_to(ROOT / "src/orderflow").as_posix(), kinds.strip("()")


def _is_text_of(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.FormattedValue):
        return isinstance(node.value, ast.Name) and node.value.id == name
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("str", "repr")
        and any(isinstance(value, ast.Name) and value.id == name for value in node.args)
    )
