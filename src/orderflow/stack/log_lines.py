"""
Lines of the processes' log files as data, whoever wrote them: ours are JSON, Kafka's, PostgreSQL's
and the registry's begin with their time. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from orderflow.stack.order_lines import OrderLine

LEVELS = ("debug", "info", "warning", "error", "critical")
_LEVEL_OF = {
    **{level.upper(): level for level in LEVELS},
    "TRACE": "debug",
    "LOG": "info",
    "NOTICE": "info",
    "WARN": "warning",
    "SEVERE": "error",
    "FATAL": "critical",
    "PANIC": "critical",
}
_TIME = re.compile(
    r"\[?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?(?: ?(?:Z|UTC|\+00:?00))?\]?[ :]*"
)
_LEVEL = re.compile(rf"\b({'|'.join(_LEVEL_OF)})\b")
LEVEL_WITHIN = 80
"""Characters at a line's beginning in which foreign programs name its level."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    A line, when it was written (None: it does not say, and none before it does), and its level.
    `text`: for people. `fields`: for programs.
    """

    source: str
    at: datetime | None
    level: str
    text: str
    fields: dict[str, Any]


def log_lines(source: str, raw: Iterable[str]) -> Iterator[LogLine]:
    """
    The lines of a file in its order, without empty ones. A line without a time of its own, as of a
    stack trace, has time and level of the line before it.
    """
    before: LogLine | None = None
    for each in raw:
        if each.strip():
            before = log_line(source, each, before)
            yield before


def log_line(source: str, raw: str, before: LogLine | None) -> LogLine:
    """One line that comes after `before` in its file."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        return _ours(source, json.loads(raw))

    match = _TIME.match(raw)
    if match is None:
        at, level = (before.at, before.level) if before is not None else (None, "info")
        return _plain(source, at, level, raw.rstrip())
    day, time, fraction = match.groups()
    with suppress(ValueError):
        at = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0'):0<6}").replace(tzinfo=UTC)
        words = raw[match.end() :].rstrip()
        level_of = _LEVEL.search(words[:LEVEL_WITHIN])
        return _plain(source, at, _LEVEL_OF[level_of[1]] if level_of else "info", words)
    return _plain(source, None, "info", raw.rstrip())


def at_least(level: str) -> frozenset[str]:
    """The level and those above it."""
    return frozenset(LEVELS[LEVELS.index(level) :])


def _ours(source: str, fields: dict[str, Any]) -> LogLine:
    at = datetime.fromisoformat(fields["timestamp"])
    if not isinstance(fields["message"], str):
        raise TypeError
    level = fields.get("level", "info")
    return LogLine(
        source=source,
        at=at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC),
        level=level if level in LEVELS else "info",
        text=OrderLine(at, source, fields).text,
        fields=fields,
    )


def _plain(source: str, at: datetime | None, level: str, words: str) -> LogLine:
    said = {} if at is None else {"timestamp": at.isoformat()}
    return LogLine(
        source=source,
        at=at,
        level=level,
        text=words.expandtabs(),
        fields={**said, "level": level, "message": words},
    )
