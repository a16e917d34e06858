"""What is in a dead letter: its event if it can be decoded, else why not, and from where on."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from orderflow.messaging.errors import Poison, Unavailable, plain
from orderflow.messaging.schemas.avro import Decoder


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """
    `type`: in which it was written, by its schema; None if there is no such schema. `value`: its
    fields; None if it can't be decoded, for the `problem`, which names the byte.
    """

    type: str | None = None
    value: dict[str, Any] | None = None
    problem: str | None = None


def payload_of(raw: bytes | None, decoder: Decoder, types: Container[str]) -> Payload:
    """
    The payload, whatever its content. Only bodies of the `types` are decoded. Never raises: while
    the registry is away, that is the problem.
    """
    name = None
    try:
        name = decoder.type_of(raw)
        if name not in types:
            # A body of a schema that contains itself could end this process.
            return Payload(type=name, problem=f"{name} is no event of ours: it is not decoded")
        return Payload(type=name, value=decoder.decode(raw)[1])
    except Poison as poison:
        return Payload(type=name, problem=str(poison))
    except Unavailable as error:
        return Payload(problem=f"{plain(error)}: ask again later")
