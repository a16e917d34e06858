"""What a handler finds wrong with a record is a fault of the record, never of the handler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from orderflow import services
from orderflow.messaging.errors import OrderflowError, RecordFault


def defined(parent: type[OrderflowError] = OrderflowError) -> Iterator[type[OrderflowError]]:
    """Every error of the kit's tree that a service defines."""
    for error in parent.__subclasses__():
        if error.__module__.startswith(f"{services.__name__}."):
            yield error
        yield from defined(error)


def answered() -> set[str]:
    """Every name that a module of an API mentions."""
    modules = Path(services.__path__[0]).rglob("*.py")
    of_apis = [path for path in modules if path.parent.name == "http" or path.name == "api.py"]
    return {name for path in of_apis for name in re.findall(r"\b[A-Z]\w+\b", path.read_text())}


def test_every_error_that_a_service_defines_is_a_record_fault_or_answers_a_request() -> None:
    for module in walk_packages(services.__path__, f"{services.__name__}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)

    names = answered()
    strays = [
        error.__name__
        for error in set(defined())
        if not issubclass(error, RecordFault)
        and not any(parent.__name__ in names for parent in error.__mro__[:-4])
    ]
    assert strays == []
