"""A test's folder gives its marker; a missing component fails, it never skips."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.support.stack"]

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
