"""The bytes of a dead letter that can't be decoded, as an operator reads them."""

from __future__ import annotations

from collections.abc import Iterator

ROW = 16


def hex_rows(raw: bytes, *, most: int) -> Iterator[str]:
    """The first bytes, 16 in a row, with their letters beside them: 76 columns."""
    for start in range(0, min(len(raw), most), ROW):
        row = raw[start : min(start + ROW, most)]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:06x}  {row.hex(' '):<{3 * ROW - 1}}  {letters}"
    if len(raw) > most:
        yield f"… {len(raw) - most:,} more bytes"
