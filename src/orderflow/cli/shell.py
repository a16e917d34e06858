"""
The shell that a command is called from: what stands in it must not change what a command does.

Paths and files are UTF-8 whatever the locale; a terminal of another encoding gets what it can show;
libpq's variables complete no address; files of ours are ours to read whatever the umask.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata

from orderflow.messaging.database_variables import forget_database_variables

IN_WORDS = {
    "✓": "+",
    "✗": "x",
    "→": "->",
    "▶": ">",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "·": "-",
    "•": "*",
    "≤": "<=",
    "≥": ">=",
    "€": "EUR",
    "─": "-",
    "━": "-",
    "│": "|",
    "┃": "|",
}
"""What commands print, for encodings that lack it."""


def settle_shell() -> None:
    """Before a command's first line. May replace this process by one that reads UTF-8."""
    _read_utf8()
    codecs.register_error("readable", _readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="readable")

    forget_database_variables()
    own_rights = 0o700
    umask = os.umask(0o077)
    os.umask(umask & ~own_rights)


def _read_utf8() -> None:
    """
    Begin anew in Python's UTF-8 mode where paths are read as something else.

    The streams keep the terminal's encoding: only they are for people.
    """
    if sys.flags.utf8_mode or codecs.lookup(sys.getfilesystemencoding()).name == "utf-8":
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": encoding}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def _readable(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: other characters for those that the encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    written = (
        _in_words(character, error.encoding) for character in error.object[error.start : error.end]
    )
    return "".join(written), error.end


def _in_words(character: str, encoding: str) -> str:
    words = IN_WORDS.get(character) or unicodedata.normalize("NFKD", character)
    known = words.encode(encoding, errors="ignore").decode(encoding)
    return known or "?"
