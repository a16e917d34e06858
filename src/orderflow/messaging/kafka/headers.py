"""Record headers, which anybody may have written, in any language."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

from orderflow.messaging.errors import Poison

_headers = methodcaller("headers")
"""
Not `message.headers()`: for a name that is not UTF-8 the client (confluent-kafka 2.16) both returns a list and leaves
an exception set. Called from hot Python code nobody notices: the exception comes out of some innocent line later, or
the list, which has holes, ends the process. Called from C the interpreter checks, drops the list, raises SystemError.
"""


def headers_of(message: Any) -> list[tuple[str, bytes | None]]:
    """
    The headers of a consumed record.

    Raises Poison when a name among them is not UTF-8: then the client can't tell any of them. It must not be asked
    again after that: it would answer with the list that has holes.
    """
    try:
        return list(_headers(message) or ())
    except (SystemError, UnicodeDecodeError) as error:
        where = f"{message.topic()}-{message.partition()}@{message.offset()}"
        raise Poison(
            f"the name of a header is not UTF-8: the client can't read any header of {where}, they are only there"
        ) from error
