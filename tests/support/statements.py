"""Every SQL statement of the code, taken from its modules: nothing has to be registered."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import NamedTuple

ROOTS = ("orderflow.services", "orderflow.messaging.postgres", "orderflow.messaging.relay")
BOOKS = "orderflow.books.sides.services"
WITHOUT_DATABASE = ("lake", "operations", "revenue")

_SQL = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\s")
_PARAMETER = re.compile(r"%s")


class Statement(NamedTuple):
    """`name`: the module's constant, or the function that contains the statement."""

    module: str
    name: str
    text: str

    @property
    def service(self) -> str:
        """Whose database it is executed in; the kit's, in any that has all of its tables."""
        parts = self.module.split(".")
        return parts[2] if parts[1] == "services" else "order"

    @property
    def place(self) -> str:
        return f"{self.module.removeprefix('orderflow.')} {self.name}"


def statements() -> list[Statement]:
    """The constants of all modules that have SQL, and what their functions have in themselves."""
    every = [
        statement
        for name in (*_modules(), BOOKS)
        for module in [import_module(name)]
        for statement in (*_constants(module), *_literals(module))
    ]
    return [statement for statement in every if not _is_part(statement, every)]


def _is_part(statement: Statement, every: list[Statement]) -> bool:
    """Whether it is only what longer statements are made of."""
    text = statement.text.strip()
    return any(len(other.text.strip()) > len(text) and text in other.text for other in every)


def as_prepared(text: str) -> str:
    """The statement with numbered parameters."""
    numbers = iter(range(1, 100))
    plain = text.replace("{more}", "").replace("{{", "{").replace("%%", "%")
    # The driver says of which type an interval is; a plan without values has to be told.
    plain = plain.replace("now() - %s ", "now() - %s::interval ")
    plain = plain.replace("now() - %s\n", "now() - %s::interval\n")
    return _PARAMETER.sub(lambda _: f"${next(numbers)}", plain)


def _modules() -> Iterator[str]:
    for root in ROOTS:
        package = import_module(root)
        for module in walk_packages(package.__path__, f"{root}."):
            parts = module.name.split(".")
            if parts[-1] != "__main__" and parts[2] not in WITHOUT_DATABASE:
                yield module.name


def _constants(module: ModuleType) -> Iterator[Statement]:
    own = {
        target.id
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for name in sorted(own):
        value = getattr(module, name, None)
        texts = {f"[{key}]": text for key, text in value.items()} if isinstance(value, dict) else {}
        for key, text in (texts or {"": value}).items():
            if isinstance(text, str) and _SQL.match(text):
                yield Statement(module.__name__, f"{name}{key}", text)


def _literals(module: ModuleType) -> Iterator[Statement]:
    tree = ast.parse(inspect.getsource(module))
    # Made of parts: those are of the relay, which looks into catalogues.
    made_of_parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for part in ast.walk(function):
            text = part.value if isinstance(part, ast.Constant) else None
            if isinstance(text, str) and _SQL.match(text) and id(part) not in made_of_parts:
                yield Statement(module.__name__, function.name, text)
