"""
A line for each record that is done: where it was, what it told of whom, and how it ended for this group.

A line is written after its record is done for good, so what is told has happened. Lines are collected, and written once
a turn; those of the turn in which a process is killed are lost, the records are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from orderflow.messaging.container.partition import Item
from orderflow.messaging.event import CE_TYPE
from orderflow.messaging.listener import Listener
from orderflow.messaging.telemetry import LogLine, write_lines

Outcome = Literal["handled", "repeat", "skipped", "dead letter"]

LOGGER = "record"
WORDS: dict[Outcome, str] = {
    "handled": "handled by",
    "repeat": "known already to",
    "skipped": "skipped by",
    "dead letter": "dead letter of",
}


class RecordLine(LogLine, kw_only=True):
    """`event` is what the event calls itself, else its type's short name; None if the record does not tell."""

    topic: str
    partition: int
    offset: int
    key: str | None
    event: str | None
    group: str
    outcome: Outcome

    def __str__(self) -> str:
        whom = f"{_shown(self.event or 'something')} of {_shown(self.key or 'nobody')}"
        return f"{self.topic}-{self.partition}@{self.offset}  {whom}  {WORDS[self.outcome]} {self.group}"


class RecordLog:
    """Collects the lines of one listener; none if they are not `wanted`."""

    def __init__(self, listener: Listener, *, wanted: bool) -> None:
        self._group = listener.group
        self._wanted = wanted
        self._lines: list[LogLine] = []

    def over(self, items: Iterable[Item], outcome: Outcome) -> None:
        """These records are done, and nothing will change that."""
        if self._wanted:
            message = f"record: {outcome}"
            self._lines += [self._line(item, outcome, message) for item in items]

    def write(self) -> None:
        """What was collected, with one write."""
        if self._lines:
            lines, self._lines = self._lines, []
            write_lines(lines)

    def _line(self, item: Item, outcome: Outcome, message: str) -> RecordLine:
        partition = item.partition
        return RecordLine(
            logger=LOGGER,
            message=message,
            topic=partition.topic,
            partition=partition.number,
            offset=item.offset,
            key=item.key.decode(errors="backslashreplace") or None,
            event=_headline(item),
            group=self._group,
            outcome=outcome,
        )


def _headline(item: Item) -> str | None:
    if item.received is not None:
        headline: str | None = getattr(item.received.event, "headline", None)
        return headline or _short(item.received.metadata.type)
    for name, value in item.headers or ():
        if name == CE_TYPE and value is not None:
            return _short(value.decode(errors="backslashreplace"))
    return None


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]


def _shown(text: str) -> str:
    """Keys and types of strangers' records go to a terminal: what would not print is escaped."""
    return text if text.isprintable() else ascii(text)
