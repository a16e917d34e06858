"""Finds the lines that this host's listeners wrote about an order's records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec

from orderflow.cli.trace.evidence import Handled, Position, moment

LOGGER = "record"


class _Line(msgspec.Struct):
    """What is read of a listener's line; the last two are there if the record had failed."""

    timestamp: str
    logger: str
    topic: str
    partition: int
    offset: int
    group: str
    outcome: str
    attempts: int | None = None
    waited_ms: int | None = None


_decoder = msgspec.json.Decoder(_Line)


def read_lines(
    directory: Path, order_id: str, positions: Collection[Position], elsewhere: Collection[Position]
) -> list[Handled]:
    """
    The lines about records at `positions`, oldest first, from the files that processes write now
    and from those that were set aside when they had grown too long. Records `elsewhere` have other
    keys than the order's id.
    """
    places = [
        f'"topic":"{topic}","partition":{partition},"offset":{offset},'.encode()
        for topic, partition, offset in elsewhere
    ]
    needles = (order_id.encode(), *places)

    handled = {
        line
        for path in sorted((*directory.glob("*.log"), *directory.glob("*.log.1")))
        for text in _lines_with(path, needles)
        if (line := parsed(text)) is not None and line.position in positions
    }
    return sorted(handled, key=lambda line: (line.at, line.position, line.group))


def parsed(text: bytes) -> Handled | None:
    """A listener's line about a record; None if the text is anything else."""
    try:
        line = _decoder.decode(text)
    except msgspec.DecodeError:
        return None

    at = moment(line.timestamp)
    if line.logger != LOGGER or at is None:
        return None
    return Handled(
        position=(line.topic, line.partition, line.offset),
        group=line.group,
        outcome=line.outcome,
        at=at,
        attempts=line.attempts,
        waited_ms=line.waited_ms,
    )


def _lines_with(path: Path, needles: Sequence[bytes]) -> Iterator[bytes]:
    """The lines with any of the needles. None of a file that can't be read."""
    try:
        content = path.read_bytes()
    except OSError:
        # It was set aside just now, or belongs to somebody else.
        return

    for needle in needles:
        at = content.find(needle)
        while at >= 0:
            start, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
            end = len(content) if end < 0 else end
            yield content[start:end]
            at = content.find(needle, end)
