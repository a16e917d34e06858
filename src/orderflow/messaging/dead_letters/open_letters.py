"""
Which dead letters are open: nobody has said yet what becomes of them.

A letter is a record on a dead-letter topic. A *disposition* is a record with the letter's place as
its key, `<dead-letter topic>/<partition>/<offset>`; the last record of a key decides, and one
without a value takes the disposition back. Pure: `add_letter`, `add_disposition` and `forget_below`
may come in any order that the logs allow, and whatever else they have, the counts are exact up to
the limits here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from orderflow.messaging.dead_letters.letter_place import letter_id_of
from orderflow.messaging.kafka.place import Place

LETTERS_MAX = 1_000_000
"""Of one partition, open or not, at 17 bytes each. Those above it count as open and stay so."""

EARLY_MAX = 10_000
"""Dispositions of letters that have not been seen yet; the oldest are dropped."""


class OpenCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters are open; the oldest one's time in seconds since 1970, None if none is."""

    letters: int
    oldest_written_s: float | None


NONE = OpenCount(letters=0, oldest_written_s=None)


def letter_of(key: bytes | None) -> tuple[Place, int] | None:
    """The letter that a disposition's key names; None if it names none."""
    letter_id = letter_id_of(key)
    return None if letter_id is None else (letter_id.place, letter_id.offset)


class OpenLetters:
    """The letters of all dead-letter topics, as far as they were added."""

    def __init__(self, *, letters_max: int = LETTERS_MAX, early_max: int = EARLY_MAX) -> None:
        self._letters_max, self._early_max = letters_max, early_max
        self._logs: dict[Place, _Log] = {}
        self._early: dict[tuple[Place, int], None] = {}

    def add_letter(self, place: Place, offset: int, written_s: float) -> None:
        """Letters of a place come in the order of their offsets."""
        log = self._logs.setdefault(place, _Log(self._letters_max))
        is_open = (place, offset) not in self._early
        self._early.pop((place, offset), None)
        log.add(offset, written_s, is_open=is_open)

    def add_disposition(self, key: bytes | None, *, is_there: bool) -> None:
        """A disposition was made, or taken back. A key that names no letter is ignored."""
        letter = letter_of(key)
        if letter is None:
            return
        place, offset = letter
        log = self._logs.get(place)

        if log is not None and offset < log.end:
            log.set_open(offset, not is_there)
        elif is_there:
            self._early[letter] = None
            if len(self._early) > self._early_max:
                del self._early[next(iter(self._early))]
        else:
            self._early.pop(letter, None)

    def forget_below(self, place: Place, first: int) -> None:
        """Retention has deleted the letters below `first`."""
        log = self._logs.get(place)
        if log is not None:
            log.forget_below(first)

    def forget(self, place: Place) -> None:
        """The topic is gone, or another one has its name."""
        self._logs.pop(place, None)

    def count(self, place: Place) -> OpenCount:
        log = self._logs.get(place)
        return log.count() if log is not None else NONE

    def by_topic(self, places: Iterable[Place]) -> dict[str, OpenCount]:
        """The counts of each topic's partitions together."""
        counts: dict[str, OpenCount] = {}
        for place in places:
            topic = place[0]
            counts[topic] = _sum(counts.get(topic, NONE), self.count(place))
        return counts


def _sum(left: OpenCount, right: OpenCount) -> OpenCount:
    times = [left.oldest_written_s, right.oldest_written_s]
    return OpenCount(
        letters=left.letters + right.letters,
        oldest_written_s=min((at for at in times if at is not None), default=None),
    )


class _Log:
    """One partition's letters in the order of their offsets, and which of them are open."""

    def __init__(self, letters_max: int) -> None:
        self._letters_max = letters_max
        self._offsets, self._written_s, self._open = array("q"), array("d"), bytearray()
        self._open_count = self._not_kept = 0
        self.end = 0

    def add(self, offset: int, written_s: float, *, is_open: bool) -> None:
        self.end = offset + 1
        if len(self._offsets) >= self._letters_max:
            self._not_kept += 1
            return
        self._offsets.append(offset)
        self._written_s.append(written_s)
        self._open.append(is_open)
        self._open_count += is_open

    def set_open(self, offset: int, is_open: bool) -> None:
        at = bisect_left(self._offsets, offset)
        if at < len(self._offsets) and self._offsets[at] == offset:
            self._open_count += is_open - self._open[at]
            self._open[at] = is_open

    def forget_below(self, first: int) -> None:
        gone = bisect_left(self._offsets, first)
        if gone:
            self._open_count -= self._open.count(1, 0, gone)
            del self._offsets[:gone], self._written_s[:gone], self._open[:gone]

    def count(self) -> OpenCount:
        at = self._open.find(1)
        return OpenCount(
            letters=self._open_count + self._not_kept,
            oldest_written_s=self._written_s[at] if at >= 0 else None,
        )
