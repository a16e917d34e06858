"""Finds the lines that this host's listeners wrote about an order's records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from orderflow.cli.trace.evidence import Handled, Seen, moment
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS

LOGGER = "record"
_KEYED_BY_ORDER = frozenset(topic.name for topic in (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY))
"""Lines about records of other topics do not contain the order's id: they have other keys."""


class _Line(msgspec.Struct):
    """
    What is read of a listener's line. Attempts and wait are there if the record had failed, the
    span if it has one.
    """

    timestamp: str
    logger: str
    topic: str
    partition: int
    offset: int
    group: str
    outcome: str
    attempts: int | None = None
    waited_ms: int | None = None
    span_id: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def read_lines(directory: Path, order_id: str, records: Sequence[Seen]) -> list[Handled]:
    """
    The lines about these records, oldest first, from the files that processes write now and from
    those that were set aside when they had grown too long.
    """
    positions = {seen.position for seen in records}
    places = [
        f'"topic":"{seen.topic}","partition":{seen.partition},"offset":{seen.offset},'.encode()
        for seen in records
        if seen.topic not in _KEYED_BY_ORDER
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
        span_id=line.span_id,
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
