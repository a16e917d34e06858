"""The children's log files: appended by them, cut by the supervisor, read by `orderflow logs`."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

LOG_SIZE_MAX = 10 * 1024 * 1024


def trim(path: Path, *, size_max: int = LOG_SIZE_MAX) -> None:
    """
    Once the file is larger than `size_max`, keep its content as `NAME.1` and empty it.

    The child goes on writing to the same file: it was opened for appending. Lines that are written
    while the copy is made may be lost.
    """
    if not path.is_file() or path.stat().st_size <= size_max:
        return
    path.with_name(f"{path.name}.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, none if it does not exist."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as lines:
        return [line.rstrip("\n") for line in deque(lines, maxlen=count)]


def all_lines(path: Path) -> Iterator[str]:
    """The lines that were cut off the file, and those that are in it."""
    for part in (path.with_name(f"{path.name}.1"), path):
        if part.is_file():
            with part.open(encoding="utf-8", errors="replace") as lines:
                yield from (line.rstrip("\n") for line in lines)


def since(path: Path, offset: int) -> str:
    """What was appended after `offset` bytes; the whole file if it was cut since then."""
    return _bytes_since(path, offset).decode(errors="replace")


def follow(
    paths: list[Path], *, every_s: float = 0.2, until: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, str]]:
    """(name, line) as whole lines are appended to any of the files, while `until` is false."""
    offsets = {path: _size(path) for path in paths}

    while not until():
        for path in paths:
            size = _size(path)
            if size < offsets[path]:
                offsets[path] = 0
            if size > offsets[path]:
                fresh = _bytes_since(path, offsets[path])
                whole = fresh[: fresh.rfind(b"\n") + 1]
                offsets[path] += len(whole)
                yield from (
                    (path.stem, line) for line in whole.decode(errors="replace").splitlines()
                )
        time.sleep(every_s)


def _bytes_since(path: Path, offset: int) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(offset if _size(path) >= offset else 0)
        return file.read()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
