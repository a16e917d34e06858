"""Dead letters for programs: what `--json` writes. The fields are public and stay. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from orderflow.cli.records import header
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import Letter
from orderflow.messaging.dead_letters.payload import Payload
from orderflow.messaging.event import rfc3339_ms

Answer = dict[str, Any]


def answer(value: Any) -> Any:
    """
    Structs as objects in camelCase, a letter's id as its text, times in RFC 3339, bytes as text, in
    hexadecimal (`0x00ff`) where they are none.
    """
    if isinstance(value, msgspec.Struct) and not isinstance(value, LetterId):
        names = value.__struct_fields__
        return {_camel(name): answer(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {_leaf(name): answer(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [answer(each) for each in value]
    return _leaf(value)


def letter_answer(letter: Letter, payload: Payload | None = None) -> Answer:
    """One letter; with its payload decoded, and whole in hexadecimal, if that was asked for."""
    shown = {
        "id": str(letter.id),
        "group": letter.group,
        "topic": letter.topic,
        "type": letter.evidence.event_type,
        "cause": letter.evidence.cause,
        "key": answer(letter.key),
        "orderId": letter.evidence.order_id,
        "writtenAt": answer(letter.written_at),
        "size": letter.size,
        "open": letter.is_open,
        "parked": letter.is_parked(),
        "evidence": answer(letter.evidence),
        "disposition": answer(letter.disposition),
    }

    if payload is None:
        return shown
    return {
        **shown,
        "headers": [[name, header(name, content)] for name, content in letter.headers],
        "payload": {
            "type": payload.type,
            "value": payload.value,
            "problem": payload.problem,
            "hex": None if letter.value is None else letter.value.hex(),
        },
    }


def _leaf(value: Any) -> Any:
    match value:
        case LetterId():
            return str(value)
        case StrEnum():
            return value.value
        case datetime():
            return rfc3339_ms(value)
        case bytes():
            return header("", value)
    return value


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
