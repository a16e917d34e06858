"""
What the commands write as text: nothing of a stranger can do anything on a terminal but be read.

Anybody may put an escape sequence into a record's key, a mail's subject or an error's words. So
every command writes through here: `say` for plain lines, `write_json` and `write_json_list` for
`--json`, and `terminal.Terminal` for what is styled. A text that must stay on its line goes through
`printable`.

`--json` has one form: a command that ends writes one JSON value, a list as an array, `[]` where
nothing is; a command that may go on (`tail`, `logs`, `--follow`, `--watch`) one object per line.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

from orderflow.cli.called import as_called

_LAYOUT = "\n\t"
"""What only moves text, and is written by the commands themselves."""


def printable(text: str) -> str:
    """The text on one line: control characters, line ends and invisible marks are escaped."""
    return _escaped(text, keep="")


def harmless(text: str) -> str:
    """The text with its lines and tabs as they are, and all else that `printable` escapes so."""
    return _escaped(text, keep=_LAYOUT)


def say(text: str, *, to_stderr: bool = False) -> None:
    """Write plain lines at once, the commands in them as this one was called."""
    _write(as_called(text), sys.stderr if to_stderr else sys.stdout)


def write_json(value: Any) -> None:
    """Write one JSON text and line at once, in ASCII; bytes are base64."""
    _write(json.dumps(msgspec.to_builtins(value)))


def write_json_list(items: Iterable[Any]) -> int:
    """
    Write a JSON array, each item at once on a line of its own, in ASCII; returns how many there
    were. It is `[]` without any.
    """
    count = 0
    for item in items:
        _write(f"{',' if count else '['}{json.dumps(msgspec.to_builtins(item))}")
        count += 1
    _write("]" if count else "[]")
    return count


def _write(text: str, file: TextIO | None = None) -> None:
    print(harmless(text), file=file, flush=True)


def _escaped(text: str, *, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if _is_harmless(character) or character in keep else ascii(character)[1:-1]
        for character in text
    )


def _is_harmless(character: str) -> bool:
    # A no-break space is none of Python's printable characters.
    return character.isprintable() or unicodedata.category(character) == "Zs"
