"""Help flows: no paragraph keeps the line ends of its source, whatever the width is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from orderflow.cli.main import COMMANDS, _load, reflowed


def every(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """The command and all below it, with their help."""
    yield name, command.help
    for each, below in getattr(command, "commands", {}).items():
        yield from every(below, f"{name} {each}")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_paragraph_is_one_line_unless_it_is_laid_out(name: str) -> None:
    target, _ = COMMANDS[name]
    for path, text in every(_load(target), name):
        for paragraph in text.split("\n\n"):
            assert paragraph.startswith("\b") or "\n" not in paragraph, path
            laid_out = paragraph.startswith("\b")
            assert not laid_out or paragraph.startswith(("\b\nExample", "\b\n ")), path


def test_what_is_laid_out_stays_so() -> None:
    text = """
    First
    line.

    \b
    Examples:
      orderflow up
    """
    assert reflowed(text) == "First line.\n\n\b\nExamples:\n  orderflow up"


@pytest.mark.parametrize("arguments", [[], ["tail", "--help"], ["stuck", "retry", "-h"]])
def test_help_in_a_pipe_has_no_padding_and_fits_the_width_that_columns_says(
    arguments: list[str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", *arguments],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines() or done.stderr.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if line.endswith(" ") or len(line) > 80] == []
