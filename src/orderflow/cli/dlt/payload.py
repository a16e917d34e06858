"""What is in a dead letter: decoded if it can be, else its bytes and where decoding stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orderflow.contracts.events import EVENT_TYPES
from orderflow.messaging.errors import Poison, Unavailable
from orderflow.messaging.schemas.avro import Decoder

ROW = 16


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """
    `type`: in which it was written, by its schema. `value`: None if it can't be decoded, for the
    `problem`.
    """

    type: str | None = None
    value: dict[str, Any] | None = None
    problem: str | None = None


def payload_of(raw: bytes | None, decoder: Decoder) -> Payload:
    """The payload, whatever its content. Never raises."""
    name = None
    try:
        name = decoder.type_of(raw)
        if name not in EVENT_TYPES:
            # A body of a schema that contains itself could end this process.
            return Payload(type=name, problem=f"{name} is no event of ours: it is not decoded")
        return Payload(type=name, value=decoder.decode(raw)[1])
    except Poison as poison:
        return Payload(type=name, problem=str(poison))
    except Unavailable as error:
        return Payload(problem=f"the schema registry did not answer ({error}): ask again later")


def hex_rows(raw: bytes, *, most: int) -> Iterator[str]:
    """The first bytes, 16 in a row, with their letters beside them: 76 columns."""
    for start in range(0, min(len(raw), most), ROW):
        row = raw[start : min(start + ROW, most)]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:06x}  {row.hex(' '):<{3 * ROW - 1}}  {letters}"
    if len(raw) > most:
        yield f"… {len(raw) - most:,} more bytes"
