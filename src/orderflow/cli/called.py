"""Commands in messages, as this one was called: `.venv/bin/orderflow`, if that was typed."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

NAME = "orderflow"
_COMMAND = re.compile(rf"(?<![\w./-]){NAME}(?= [a-z])")


def command(*words: str) -> str:
    """A command to be copied: as this one was called, each of its words as a shell takes it."""
    return f"{called()} {shlex.join(words)}"


def as_called(text: str) -> str:
    """The text with each `orderflow …` between backticks as whoever reads it can type it."""
    if called() == NAME:
        return text
    return re.sub(r"`[^`\n]*`", lambda quoted: line_as_called(quoted[0]), text)


def line_as_called(line: str) -> str:
    """A whole command that somebody else has made (`orderflow …`), as it can be typed here."""
    return _COMMAND.sub(lambda _: called(), line)


def called() -> str:
    """The command's name where a shell finds it by that, else its path, quoted for a shell."""
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
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
