"""Many letters as one row for each group, topic, event type and cause. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letters import (
    EXAMPLES_MAX,
    TEXT_SHOWN_MAX,
    Letter,
    LetterGroup,
)

ROWS_MAX = 1_000
"""Types and causes are texts of strangers: what has a row above this limit shares one, `others`."""
ORDERS_MAX = 100_000
OTHERS = "others"

_Row = tuple[str, str, str, str]


def summarize(letters: Iterable[Letter], *, replays_max: int) -> list[LetterGroup]:
    """
    The rows, the largest first. In memory are at most 1,000 of them and 100,000 orders.
    """
    rows: dict[_Row, _Sum] = {}
    orders_left = ORDERS_MAX
    for letter in letters:
        key = _row(letter)
        if key not in rows and len(rows) >= ROWS_MAX:
            key = (*key[:2], OTHERS, OTHERS)

        if key not in rows:
            rows[key] = _Sum(letter)
        orders_left -= rows[key].add(letter, replays_max=replays_max, may_note=orders_left > 0)

    groups = [row.group(*key) for key, row in rows.items()]
    return sorted(groups, key=lambda it: (-it.letters, it.group, it.topic, it.type, it.cause))


def _row(letter: Letter) -> _Row:
    evidence = letter.evidence
    event_type = (evidence.event_type or "unknown")[:TEXT_SHOWN_MAX]
    return letter.group, letter.topic, event_type, evidence.cause[:TEXT_SHOWN_MAX]


def order_of(evidence: LetterEvidence, key: bytes | None) -> str:
    """The order that a letter is about, else its key; cut to 200 characters."""
    return (evidence.order_id or (key or b"").decode(errors="replace"))[:TEXT_SHOWN_MAX]


class _Sum:
    """One row while letters are added to it, in the order in which they were written."""

    def __init__(self, first: Letter) -> None:
        self._first = first.id
        self._message = (first.evidence.message or "")[:TEXT_SHOWN_MAX]
        self._oldest: datetime = first.written_at
        self._newest: datetime = first.written_at
        self._letters = self._parked = self._cut = 0
        self._orders: dict[str, None] = {}

    def add(self, letter: Letter, *, replays_max: int, may_note: bool) -> int:
        """How many orders more are in memory now."""
        self._letters += 1
        self._parked += letter.is_parked(replays_max)
        self._cut += bool(letter.evidence.cut)
        if letter.written_at < self._oldest:
            self._oldest, self._first = letter.written_at, letter.id
        self._newest = max(self._newest, letter.written_at)

        before = len(self._orders)
        order = order_of(letter.evidence, letter.key)
        if order and (may_note or before < EXAMPLES_MAX):
            self._orders[order] = None
        return len(self._orders) - before

    def group(self, group: str, topic: str, event_type: str, cause: str) -> LetterGroup:
        return LetterGroup(
            group=group,
            topic=topic,
            type=event_type,
            cause=cause,
            letters=self._letters,
            parked=self._parked,
            cut=self._cut,
            oldest=self._oldest,
            newest=self._newest,
            orders=len(self._orders),
            examples_of_orders=tuple(self._orders)[:EXAMPLES_MAX],
            first_letter=self._first,
            message=self._message,
        )
