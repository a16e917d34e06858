"""
The open letters of one log, and in which order those that are meant go back. Pure.

Between two letters of different keys the log's order stays, so that the log is read once, from its
beginning to its end. Those of one key change places among themselves, into the order of their
originals. In memory: about 170 bytes for each open letter, without key or value.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import groupby

import msgspec

from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letters import Letter
from orderflow.messaging.dead_letters.replay_plan import SHOWN_MAX, Held

_ENTRY = struct.Struct(">16sIQQB")
"""Big-endian and unsigned, so that bytes sort as numbers: key, original partition, offset; ours."""
_MOVE = struct.Struct(">QQ")
_KEY_BYTES = 16
_UNKNOWN_PARTITION, _UNKNOWN_OFFSET = 2**32 - 1, 2**64 - 1
"""What has no original place goes last."""

_REASONS = (None, Held.PARKED, Held.CUT, Held.FOREIGN)
_NOT_MEANT = len(_REASONS)


class HeldLetter(msgspec.Struct, frozen=True):
    """A letter that is not sent, by its offset; and the older one that it would overtake."""

    offset: int
    held: Held
    older: int | None = None


class Selection(msgspec.Struct, frozen=True):
    """
    `offsets`: the letters to be sent, in their order. `held`: how many are not, by why; `shown`:
    the first 1,000 of those.
    """

    offsets: array[int]
    held: Counter[Held]
    shown: list[HeldLetter]


class LetterIndex:
    """Letters are added in any order, each once."""

    def __init__(self, *, replays_max: int) -> None:
        self._replays_max = replays_max
        self._entries: list[bytes] = []

    def add(self, letter: Letter, *, is_meant: bool) -> None:
        """An open letter. One that is not meant stays behind, and holds later ones of its key."""
        reason = _REASONS.index(self._reason(letter)) if is_meant else _NOT_MEANT
        partition, offset = _original_place(letter.evidence)
        key = key_digest(letter.key)
        self._entries.append(_ENTRY.pack(key, partition, offset, letter.id.offset, reason))

    def select(self, *, keep_order: bool) -> Selection:
        """What is to be sent. Without `keep_order` no letter is held by another one."""
        self._entries.sort()
        moves: list[bytes] = []
        held: Counter[Held] = Counter()
        shown: list[HeldLetter] = []

        for _key, entries in groupby(self._entries, key=lambda entry: entry[:_KEY_BYTES]):
            sent: list[int] = []
            for offset, reason, older in _judged(entries, keep_order=keep_order):
                if reason is None:
                    sent.append(offset)
                else:
                    held[reason] += 1
                    shown.append(HeldLetter(offset, reason, older))
            if len(shown) > 2 * SHOWN_MAX:
                shown = _first(shown)
            moves += map(_MOVE.pack, sorted(sent), sent)

        moves.sort()
        offsets = array("q", (_MOVE.unpack(move)[1] for move in moves))
        return Selection(offsets, held, _first(shown))

    def _reason(self, letter: Letter) -> Held | None:
        if letter.evidence.original_topic is None:
            return Held.FOREIGN
        if letter.evidence.cut:
            return Held.CUT
        return Held.PARKED if letter.is_parked(self._replays_max) else None


def key_digest(key: bytes | None) -> bytes:
    """A key of any size in 16 bytes. No key is one, too: a listener keeps those in order."""
    return blake2b(key or b"", digest_size=_KEY_BYTES).digest()


def _judged(
    entries: Iterator[bytes], *, keep_order: bool
) -> Iterator[tuple[int, Held | None, int | None]]:
    """
    The letters of one key that are meant, the oldest first: offset, why it is not sent, and the
    older one that it would overtake.
    """
    older: int | None = None
    for entry in entries:
        _key, _partition, _original, offset, number = _ENTRY.unpack(entry)
        reason = None if number == _NOT_MEANT else _REASONS[number]
        stays = number == _NOT_MEANT or reason is not None

        if not stays and keep_order and older is not None:
            yield offset, Held.OLDER_OPEN, older
        elif number != _NOT_MEANT:
            yield offset, reason, None
        if stays and older is None:
            older = offset


def _first(held: list[HeldLetter]) -> list[HeldLetter]:
    return sorted(held, key=lambda it: it.offset)[:SHOWN_MAX]


def _original_place(evidence: LetterEvidence) -> tuple[int, int]:
    partition, offset = evidence.original_partition, evidence.original_offset
    if partition is None or offset is None or partition < 0 or offset < 0:
        return _UNKNOWN_PARTITION, _UNKNOWN_OFFSET
    return partition, offset
