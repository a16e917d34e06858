"""How long after the answer something came."""

from __future__ import annotations

import pytest

from orderflow.cli.demo.view import _late


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "< 1 ms"), (0.0004, "< 1 ms"), (0.057, "57 ms"), (9.5, "9,500 ms"), (12.34, "12.3 s")],
)
def test_what_can_not_be_measured_is_not_called_nothing(seconds: float, words: str) -> None:
    assert _late(seconds) == words
