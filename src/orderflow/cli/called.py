"""Commands in messages, as this one was called: `.venv/bin/orderflow`, if that was typed."""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path

NAME = "orderflow"


def as_called(text: str) -> str:
    """The text with each `orderflow …` between backticks as whoever reads it can type it."""
    if called() == NAME:
        return text
    return re.sub(
        r"`[^`\n]*`",
        lambda quoted: re.sub(r"(?<![\w./-])orderflow(?= [a-z])", called(), quoted[0]),
        text,
    )


def called() -> str:
    """The command's name where a shell finds it by that, else its path."""
    return _called(sys.argv[0])


@cache
def _called(typed: str) -> str:
    script = Path(typed)
    if script.name != NAME:
        script = Path(sys.executable).with_name(NAME)
    on_path = shutil.which(NAME)
    if not script.exists() or (on_path and Path(on_path).samefile(script)):
        return NAME

    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
