"""A test's folder gives its marker; a missing component fails, it never skips."""

import signal
from pathlib import Path

import pytest

pytest_plugins = ["tests.support.mock_cluster", "tests.support.stack"]

TESTS = Path(__file__).parent

# Whoever starts us in the background ignores SIGINT for us, and our children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
