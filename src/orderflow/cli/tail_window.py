"""Where `orderflow tail` begins: at a place, at a time, or so that the last records are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from orderflow.cli.records import ReadableRecord
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.reader import Offsets

FURTHER = 8
"""By how much more is looked at if what was looked at is not enough."""
_PLACE = re.compile(r"(.+)-([0-9]{1,9})@([0-9]{1,18})")

Ranges = Mapping[int, tuple[int, int]]
"""By partition: the first offset that is there, and the next record's."""


def place_of(text: str) -> tuple[str, int, int] | None:
    """The topic, partition and offset of `orders-0@54`; None if the text is only a topic's name."""
    match = _PLACE.fullmatch(text)
    return None if match is None else (match[1], int(match[2]), int(match[3]))


def at_offset(topic: str, offset: int, ranges: Ranges) -> Offsets:
    """That offset in each partition. Raises ConfigurationError if it is past the end of all."""
    if all(offset > end for _, end in ranges.values()):
        ends = ", ".join(f"{partition} at {end}" for partition, (_, end) in ranges.items())
        raise ConfigurationError(
            f"{topic} has no offset {offset} yet; its partitions end so: {ends}"
        )
    return {partition: min(max(offset, first), end) for partition, (first, end) in ranges.items()}


def last_records(
    read_from: Callable[[Offsets], Iterable[ReadableRecord]], ranges: Ranges, count: int
) -> list[ReadableRecord]:
    """
    The newest `count` of what `read_from` yields, the oldest of them first. It looks further back
    until it has them: offsets may be markers of transactions, or records that nobody wants.
    """
    reach = count
    while True:
        start = {partition: max(first, end - reach) for partition, (first, end) in ranges.items()}
        records = list(read_from(start))
        if all(
            start[partition] == first or _count(records, partition) >= count
            for partition, (first, _) in ranges.items()
        ):
            break
        reach *= FURTHER
    return sorted(records, key=lambda each: (each.timestamp, each.partition, each.offset))[-count:]


def _count(records: Iterable[ReadableRecord], partition: int) -> int:
    return sum(record.partition == partition for record in records)
