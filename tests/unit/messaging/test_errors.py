"""The drawing of the error tree is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

from orderflow import messaging
from orderflow.messaging import errors
from orderflow.messaging.errors import OrderflowError

BRANCH = re.compile(r"^(?P<indent>[│ ]*)[├└]── (?P<name>\w+) .*?(?:\((?P<room>[\w.]+)\))?$")


def drawn() -> set[tuple[str, str, str]]:
    """(error, its parent, the module that defines it) for each line of the drawing."""
    parents = ["OrderflowError"]
    edges = set()
    for line in (errors.__doc__ or "").splitlines():
        if (branch := BRANCH.match(line)) is not None:
            depth = len(branch["indent"]) // len("│   ")
            parents[depth + 1 :] = [branch["name"]]
            edges.add((branch["name"], parents[depth], branch["room"] or "errors"))
    return edges


def defined(parent: type[OrderflowError] = OrderflowError) -> Iterator[tuple[str, str, str]]:
    prefix = f"{messaging.__name__}."
    for error in parent.__subclasses__():
        if error.__module__.startswith(prefix):
            yield error.__name__, parent.__name__, error.__module__.removeprefix(prefix)
            yield from defined(error)


def test_the_drawing_shows_every_error_of_the_kit_with_its_parent_and_its_room() -> None:
    for module in walk_packages(messaging.__path__, f"{messaging.__name__}."):
        import_module(module.name)

    assert drawn() == set(defined())
