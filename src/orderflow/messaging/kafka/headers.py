"""Record headers, which anybody may have written, in any language."""

from __future__ import annotations

from typing import Any

from orderflow.messaging.errors import Poison


def headers_of(message: Any) -> list[tuple[str, bytes | None]]:
    """
    The headers of a consumed record.

    Raises Poison when a name among them is not UTF-8: then the client can't tell any of them. It must not be asked
    again after that: what it answers then (confluent-kafka 2.16) ends the process when it is touched.
    """
    try:
        return list(message.headers() or ())
    except (SystemError, UnicodeDecodeError) as error:
        where = f"{message.topic()}-{message.partition()}@{message.offset()}"
        raise Poison(
            f"the name of a header is not UTF-8: the client can't read any header of {where}, they are only there"
        ) from error
