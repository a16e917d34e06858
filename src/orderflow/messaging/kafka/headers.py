"""The headers of a consumed record, which anybody may have written, in any language."""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import methodcaller
from typing import Any

from orderflow.messaging.errors import Poison

HEADER_BYTES = 10
"""The lengths of name and value, as the wire has them: at most five bytes each."""

_ID = re.compile(rb"[0-9A-Za-z_.:-]{1,128}")

# Not `message.headers()`. For a name that is not UTF-8 the client (confluent-kafka 2.16) returns a
# list and also leaves an exception set. A call from Python code does not notice: the exception
# appears at some later line, or the list, which has holes, ends the process. A call from C is
# checked by the interpreter, which drops the list and raises SystemError.
_headers = methodcaller("headers")


def headers_of(message: Any) -> list[tuple[str, bytes | None]]:
    """
    The headers of a consumed record.

    Raises Poison when the name of one is not UTF-8: the client then can't return any of them. Do
    not call it again for that record: the second answer is a list with holes.
    """
    try:
        return list(_headers(message) or ())
    except (SystemError, UnicodeDecodeError) as error:
        where = f"{message.topic()}-{message.partition()}@{message.offset()}"
        raise Poison(
            "the name of a header is not UTF-8: "
            f"the client can't read any header of {where}, they are only there"
        ) from error


def id_text(value: bytes | None) -> str:
    """
    An id that a header has, for a line about its record; empty if that is none, for a stranger may
    have put anything there.
    """
    return value.decode("ascii") if value and _ID.fullmatch(value) else ""


def record_bytes(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
) -> int:
    """At most so many bytes of a limit for records are used by this one."""
    parts = len(key or b"") + len(value or b"")
    return parts + sum(
        len(name.encode()) + len(content or b"") + HEADER_BYTES for name, content in headers
    )
