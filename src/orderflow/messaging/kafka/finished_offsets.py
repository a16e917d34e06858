"""
What is finished on a partition, written so that it fits beside the committed offset.

A record that waits does not hold others back: those after it finish first. What is committed is the
**lowest unfinished offset**, and in the commit's metadata which of the offsets above it are
finished already, so that whoever takes the partition over runs each record once.

Guarantee: `decode(encode(window))` is the same window. As long as `admits` was asked before each
record was taken in, the text has at most 4,000 bytes (a broker takes 4,095:
`offset.metadata.max.bytes`). Text that is damaged or not ours becomes a wrong window: nothing above
the offset counts as finished then, and such records run again.

The text is `ofw` and base64 of: version, kind of body, base, span (both as varints), body, CRC-32
of all before it. The body is the shorter of two: lengths of runs as varints, unfinished and
finished in turn, the last one left out if it is finished; or one bit for each offset from the base
on, set if it is unfinished.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from zlib import crc32

import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import ConfigurationError

METADATA_BYTES_MAX = 4_000
BODY_BYTES_MAX = 2_970
"""What of the text is left for the body: base64 takes a third more, and the rest 20 bytes."""
UNFINISHED_MAX = 2_000
SPAN_MAX = 2**31
"""At 1,500 offsets a second one record may wait for 16 days."""

_PREFIX = "ofw"
_VERSION = 1
_RUNS, _BITS = 0, 1
_CRC_BYTES = 4
_NONE = 255

NO_OFFSET = _PREFIX + b64encode(bytes((_NONE,))).decode()
"""Beside an offset that is only written to be aborted: `decode` raises, should it be visible."""


class Window(msgspec.Struct, frozen=True):
    """
    All offsets below `end` are finished, except those in `unfinished` (ascending, each once, below
    `end`).

    `end` is the offset after the highest record that was taken in. One that was never delivered (a
    transaction's marker, an aborted record) counts as finished.
    """

    end: int
    unfinished: tuple[int, ...] = ()

    @property
    def base(self) -> int:
        """The offset to commit: the lowest that is unfinished."""
        return self.unfinished[0] if self.unfinished else self.end

    @property
    def span(self) -> int:
        return self.end - self.base

    def is_finished(self, offset: int) -> bool:
        if offset >= self.end:
            return False
        at = bisect_left(self.unfinished, offset)
        return at == len(self.unfinished) or self.unfinished[at] != offset


def admits(span: int, unfinished: int, runs_bytes: int) -> bool:
    """
    Whether a record may be taken in; all figures are those of the window **with** that record in
    it, `runs_bytes` by `runs_bytes_max`.

    What finishes later only shortens span, list and bound, so a window stays writable until the
    next record is admitted. The records that may not come in wait, and the partition pauses.
    """
    return span < SPAN_MAX and _fits(span, unfinished, runs_bytes, parts=1)


def surely_writable(span: int) -> bool:
    """Whether a window of that span can be written as bits, so that its runs need no counting."""
    return (span + 7) // 8 <= BODY_BYTES_MAX


def has_room(span: int, unfinished: int, runs_bytes: int) -> bool:
    """Whether a window is down to half of its limits: then a paused partition is resumed."""
    return _fits(span, unfinished, runs_bytes, parts=2)


def _fits(span: int, unfinished: int, runs_bytes: int, *, parts: int) -> bool:
    body_bytes_max = BODY_BYTES_MAX // parts
    writable = (span + 7) // 8 <= body_bytes_max or runs_bytes <= body_bytes_max
    return writable and unfinished < UNFINISHED_MAX // parts


def runs_bytes_max(unfinished: Iterable[int]) -> int:
    """
    The most bytes that the runs of these offsets (ascending) can take, whichever of them finish.

    Each takes a byte, and its distance to the next one as a varint: at most 6 bytes for one that
    waits far behind, 2 for one among its like. When one in between finishes, two distances become
    one, whose varint is never longer than both.
    """
    return 1 + sum(added_bytes_max(distance) for distance in _distances(unfinished))


def added_bytes_max(distance: int) -> int:
    """What one more offset adds to `runs_bytes_max`, `distance` above the last one."""
    # A byte, and those of the distance's varint, without making it: asked for every record.
    return 1 + max(1, (distance.bit_length() + 6) // 7)


def _distances(offsets: Iterable[int]) -> Iterator[int]:
    return (later - earlier for earlier, later in pairwise(offsets))


def encode(window: Window) -> str:
    """
    The metadata to commit with `window.base`; empty when the offset alone says everything.

    Raises ValueError if the window is not one that `admits` allows, or its offsets are out of
    order.
    """
    if not window.unfinished:
        return ""
    runs = b"".join(map(_varint, _runs(window)))
    bits_length = (window.span + 7) // 8
    kind, body = (_RUNS, runs) if len(runs) <= bits_length else (_BITS, _bits(window, bits_length))
    content = bytes((_VERSION, kind)) + _varint(window.base) + _varint(window.span) + body
    text = _PREFIX + b64encode(content + crc32(content).to_bytes(_CRC_BYTES, "big")).decode()
    if len(text) > METADATA_BYTES_MAX:
        raise ValueError(
            f"{len(window.unfinished)} unfinished offsets over {window.span} need {len(text)} bytes"
        )
    return text


def decode(
    metadata: str | None, *, offset: int, on_ignored: Callable[[str], None] = lambda _why: None
) -> Window:
    """
    The window of a committed `offset` and its metadata.

    Text that is not ours, is damaged, or was written for another offset (somebody moved the group)
    counts as none: `on_ignored` is told why, nothing above `offset` is finished. Raises
    ConfigurationError on text of a newer version: this program can't read which offsets are
    finished; and on `NO_OFFSET`.
    """
    if not metadata:
        return Window(offset)
    try:
        return _parse(metadata, offset)
    except _NotOurs as reason:
        on_ignored(f"metadata of the committed offset {offset} counts as none: {reason}")
        return Window(offset)


class _NotOurs(Exception):
    """Why a text counts as none."""


def _parse(metadata: str, committed: int) -> Window:
    if not metadata.startswith(_PREFIX):
        raise _NotOurs("somebody else wrote it")

    try:
        raw = b64decode(metadata[len(_PREFIX) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _NotOurs(f"it is damaged ({error_text(error)})") from error

    if metadata == NO_OFFSET:
        raise ConfigurationError(
            f"the committed offset {committed} was to be aborted, and is none: set the group's "
            "offset to where the partition was read to, see docs/runbooks/hanging-transaction.md"
        )
    if raw and raw[0] > _VERSION:
        # Checked before the CRC: a later version may check itself in another way.
        raise ConfigurationError(
            f"a newer version of this program ({raw[0]}; this one writes {_VERSION}) committed "
            "offsets of this group; start that version again, finished records would be run twice "
            "by this one"
        )

    content, crc = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
    if (
        len(content) < 4
        or content[0] != _VERSION
        or crc32(content).to_bytes(_CRC_BYTES, "big") != crc
    ):
        raise _NotOurs("it is damaged (its check sum is wrong)")

    try:
        base, at = _read_varint(content, 2)
        span, at = _read_varint(content, at)
        if not 0 < span < SPAN_MAX:
            raise _NotOurs(f"it spans {span} offsets")
        read = _offsets_of_runs if content[1] == _RUNS else _offsets_of_bits
        unfinished = tuple(read(content[at:], base, base + span))
    except IndexError as error:
        raise _NotOurs("it is cut short") from error

    if not unfinished or unfinished[0] != base or unfinished[-1] >= base + span:
        raise _NotOurs("its offsets contradict each other")
    if base != committed:
        raise _NotOurs(f"it was written for offset {base}")
    return Window(base + span, unfinished)


def _runs(window: Window) -> Iterator[int]:
    start = following = window.base
    for offset in window.unfinished:
        if offset < following or offset >= window.end:
            raise ValueError(
                f"unfinished offset {offset} is out of order or not below {window.end}"
            )
        if offset > following:
            yield following - start
            yield offset - following
            start = offset
        following = offset + 1
    yield following - start


def _offsets_of_runs(body: bytes, base: int, end: int) -> Iterator[int]:
    at, offset, is_finished = 0, base, False
    while at < len(body):
        length, at = _read_varint(body, at)
        if length > end - offset:
            raise _NotOurs(f"a run of {length} does not fit")
        if not is_finished:
            yield from range(offset, offset + length)
        offset, is_finished = offset + length, not is_finished


def _bits(window: Window, length: int) -> bytes:
    bits = bytearray(length)
    for offset in window.unfinished:
        place = offset - window.base
        bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def _offsets_of_bits(body: bytes, base: int, _end: int) -> Iterator[int]:
    for index, byte in enumerate(body):
        for bit in range(8):
            if byte >> bit & 1:
                yield base + index * 8 + bit


def _varint(number: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, low ones first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
