"""
The lines of all processes that name one order, in the order of their times: what
`orderflow logs --order` shows.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

NAMED_BY = ("order_id", "key", "correlation")
"""The fields of a line, any of which may name its order; `keys` names several."""

_SAID_ALREADY = frozenset(
    {
        *("timestamp", "level", "service", "logger", "message", *NAMED_BY, "keys", "keys_count"),
        *("event_id", "trace_id", "span_id", "listener", "group", "topic", "partition", "offset"),
        *("event", "outcome", "attempts", "waited_ms", "publisher", "records", "topics", "types"),
        *("offsets", "record"),
    }
)
_OUTCOMES = {
    "handled": "handled by",
    "repeat": "known already to",
    "skipped": "skipped by",
    "dead letter": "became a dead letter of",
}


class OrderLine(msgspec.Struct, frozen=True):
    """A line as a process wrote it. `source`: the process, as `orderflow status` calls it."""

    at: datetime
    source: str
    fields: dict[str, Any]

    @property
    def text(self) -> str:
        """What happened, for people."""
        fields = self.fields
        if "outcome" in fields:
            return _of_record(fields)
        if fields["message"] == "published":
            return _of_transaction(fields)
        rest = {name: value for name, value in fields.items() if name not in _SAID_ALREADY}
        details = " ".join(f"{name}={value}" for name, value in rest.items())
        place = fields.get("record") or _place(fields)
        return "  ".join(filter(None, (fields["message"], place, details)))


def order_lines(paths: Iterable[Path], order_id: str) -> list[OrderLine]:
    """
    Every line about the order in these files and in what was cut off them, the oldest first.

    Only lines that contain the id are parsed; those of programs that write no JSON are left out.
    """
    about = [
        line
        for path in paths
        for file in (path.with_name(f"{path.name}.1"), path)
        for raw in _lines_with(file, order_id.encode())
        if (line := order_line(path.stem, raw, order_id)) is not None
    ]
    return sorted(about, key=lambda line: line.at)


def order_line(source: str, raw: str | bytes, order_id: str) -> OrderLine | None:
    """The line if it is about the order; None if it only contains its id, or is no JSON."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        fields = json.loads(raw)
        about = any(fields.get(name) == order_id for name in NAMED_BY)
        if (about or order_id in fields.get("keys", ())) and isinstance(fields["message"], str):
            at = datetime.fromisoformat(fields["timestamp"])
            return OrderLine(at.astimezone(UTC), source, fields)
    return None


def _lines_with(path: Path, wanted: bytes) -> Iterator[bytes]:
    """The lines of a file that contain these bytes."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(wanted)
        while at >= 0:
            begin = content.rfind(b"\n", 0, at) + 1
            end = content.find(b"\n", at)
            end = len(content) if end < 0 else end
            yield content[begin:end]
            at = content.find(wanted, end)


def _of_record(fields: dict[str, Any]) -> str:
    text = (
        f"{fields.get('event') or 'something'} ({_place(fields)}) "
        f"{_OUTCOMES.get(fields['outcome'], fields['outcome'])} {fields.get('group', '')}"
    )
    if fields.get("attempts"):
        text += f", after {fields['attempts']} failed attempts"
    if fields.get("waited_ms"):
        text += f", {fields['waited_ms'] / 1000:.1f} s after the first"
    return text


def _of_transaction(fields: dict[str, Any]) -> str:
    types = ", ".join(f"{count} {name}" for name, count in fields.get("types", {}).items())
    others = fields.get("keys_count", 1) - 1
    among = f", with records of {others} other keys" if others > 0 else ""
    return f"{types} published by {fields.get('publisher', '')}{among}"


def _place(fields: dict[str, Any]) -> str:
    if "offset" not in fields:
        return str(fields.get("topic", ""))
    return f"{fields.get('topic')}-{fields.get('partition')}@{fields['offset']}"
