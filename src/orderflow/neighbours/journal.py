"""An append-only file of JSON lines; a line that a kill tore off is cut away at the next start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Journal(Generic[T]):
    """
    `append` returns when the kernel has the line: it survives the process, not a loss of power.

    One process alone may use it: two would overwrite each other's end.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._decoder = msgspec.json.Decoder(kind)
        self._encoder = msgspec.json.Encoder()
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        content = path.read_bytes()
        os.ftruncate(self._file, content.rfind(b"\n") + 1)

    def append(self, *lines: T) -> None:
        """All lines in one write. Raises OSError when it was not done, or in part."""
        data = b"".join([self._encoder.encode(line) + b"\n" for line in lines])
        if os.write(self._file, data) != len(data):
            raise OSError(f"{self._path}: a line was written in part; the disk is full?")

    def read(self) -> list[T]:
        return self._decoder.decode_lines(self._path.read_bytes())

    def close(self) -> None:
        os.close(self._file)
