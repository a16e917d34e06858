"""The headers of a consumed record, which anybody may have written, in any language."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

from orderflow.messaging.errors import Poison

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
