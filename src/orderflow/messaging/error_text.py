"""
Errors in words, without the data that they are about: for log lines, evidence, spans and reasons.

A database's error quotes the row, a mail server's reply the address, a parser's error what it could
not parse. So an error's own text is passed on only if it is known to have no data in it: the
kit's errors, whose texts are written here, and what is listed below. Of any other error its type
is told, and the lines of code where it was raised. Imports no driver: errors are known by the
modules of their types.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from orderflow.messaging.errors import OrderflowError

CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"

_OF_CODE = (AttributeError, NameError, ImportError, ZeroDivisionError, RecursionError)
"""The interpreter's words about names in the code."""

_LOST = (
    "Connection refused",
    "timeout expired",
    "server closed the connection unexpectedly",
    "the connection is closed",
    "the connection is lost",
    "couldn't get a connection",
    "could not translate host name",
    "could not receive data from server",
    "consuming input failed",
    "No such file or directory",
    "starting up",
    "shutting down",
    "too many clients",
    "password authentication failed",
    "does not exist",
    "no answer",
)
"""What libpq may say of a connection; the rest of its text has hosts, users and databases."""

_PROGRAM_STATES = ("08", "25", "3D", "3F", "40", "42", "53", "55", "57")
"""Classes of PostgreSQL's errors whose words name what is in the schema, never a value."""

_QUOTED = re.compile(r"'.*'|(?<=unknown field )`.*?`", re.DOTALL)


def error_text(error: BaseException) -> str:
    """`Type: words`, or the type alone if the error's words may quote data. One line."""
    words = error_words(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def error_words(error: BaseException) -> str:
    """The words of an error without data; empty if it has none. Never raises."""
    try:
        words = _words(error)
    except Exception:  # noqa: BLE001 - an error that can't be told is told by its type
        return ""
    return " ".join(words.split())


def traceback_text(error: BaseException) -> str:
    """
    As the interpreter prints it, causes first, with `error_text` in place of each error's own text.
    Lines of code are in it, values of variables and notes are not.
    """
    parts: list[str] = []
    for link, each in reversed(list(_chain(error))):
        if each.__traceback__ is not None:
            parts += ["Traceback (most recent call last):\n", *_frames(each)]
        words = error_words(each)
        parts += [f"{full_name(each)}: {words}\n" if words else f"{full_name(each)}\n", link]
    return "".join(parts)


def full_name(error: BaseException) -> str:
    """`module.Type`; the interpreter's own types without their module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)


def _qualified(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _frames(error: BaseException) -> list[str]:
    return traceback.format_tb(error.__traceback__)


def _chain(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """The error and what led to it, each with what stands between it and the one after it."""
    seen: set[int] = set()
    link, present = "", error
    while id(present) not in seen:
        seen.add(id(present))
        yield link, present
        if present.__cause__ is not None:
            link, present = CAUSED, present.__cause__
        elif present.__context__ is not None and not present.__suppress_context__:
            link, present = MEANWHILE, present.__context__
        else:
            return


def _words(error: BaseException) -> str:
    if isinstance(error, (OrderflowError, *_OF_CODE)):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        return f"{len(error.exceptions)} errors: {', '.join(map(error_text, error.exceptions))}"
    if isinstance(error, UnicodeError):
        return str(getattr(error, "reason", ""))

    told_by = _BY_MODULE.get(type(error).__module__.partition(".")[0])
    if told_by is not None:
        return told_by(error)
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return ""


def _of_psycopg(error: Any) -> str:
    state = getattr(error, "sqlstate", None)
    if state is None:
        text = str(error)
        return next((words for words in _LOST if words in text), "")

    diagnosis = error.diag
    parts = [f"SQLSTATE {state}"]
    if state[:2] in _PROGRAM_STATES:
        parts.append((diagnosis.message_primary or str(error)).partition("\n")[0])
    for name in ("constraint", "table", "column"):
        value = getattr(diagnosis, f"{name}_name")
        if value:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _of_kafka(error: Any) -> str:
    first: Any = error.args[0] if error.args else None
    return f"{first.name()} {first.str()}" if hasattr(first, "name") else ""


def _of_http(error: Any) -> str:
    response = getattr(error, "_response", None) or vars(error).get("response")
    if response is not None:
        return f"status {response.status_code}"
    # What the operating system said of the connection.
    causes = (each for _link, each in _chain(error))
    numbers = (each.errno for each in causes if isinstance(each, OSError))
    return next((os.strerror(number) for number in numbers if number and number > 0), "")


def _of_mail(error: Any) -> str:
    code = getattr(error, "smtp_code", None)
    if code is not None:
        return f"code {code}"
    refused = getattr(error, "recipients", None)
    codes = {answer[0] for answer in refused.values()} if isinstance(refused, dict) else ()
    return ", ".join(f"code {code}" for code in sorted(codes))


def _of_msgspec(error: Any) -> str:
    # What it quotes in back-quotes are types and places, in quotes the value.
    return _QUOTED.sub("'…'", str(error))


def _of_sqlite(error: Any) -> str:
    return getattr(error, "sqlite_errorname", "") or ""


_BY_MODULE: dict[str, Callable[[Any], str]] = {
    "psycopg": _of_psycopg,
    "psycopg_pool": _of_psycopg,
    "confluent_kafka": _of_kafka,
    "cimpl": _of_kafka,
    "httpx": _of_http,
    "httpx2": _of_http,
    "smtplib": _of_mail,
    "msgspec": _of_msgspec,
    "sqlite3": _of_sqlite,
}
