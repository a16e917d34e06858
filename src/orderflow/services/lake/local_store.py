"""
Objects as files of a directory: written aside, made durable, then renamed into their place.

Two processes of one machine may write; a lock makes the comparison of versions and the renaming one
step. It is held for these two calls, and waited for up to five seconds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.failpoints import failpoint
from orderflow.services.lake.store import Content, Version, away

WRITING = ".writing"
"""What is not an object yet; no pattern for objects leads in there."""

LOCK = ".lock"
LOCK_WITHIN_S = 5.0
LOCK_AGAIN_S = 0.005
LEFT_OVER_S = 900.0
"""A file that nobody has renamed for so long was left by a process that is gone."""

_REASONS = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "its disk is full",
    errno.EROFS: "it is read-only",
    errno.EACCES: "it may not be written",
    errno.EPERM: "it may not be written",
    errno.ENOENT: "its directory is not there",
    errno.ENOTDIR: "its directory is not there",
}


class LocalStore:
    """See `Store`. The directory above `root` must be there: it may be a disk that is mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Make the root, and remove what processes have left half-written."""
        with _translated():
            self._root.mkdir(exist_ok=True)
            writing = self._root / WRITING
            writing.mkdir(exist_ok=True)
            (self._root / LOCK).touch()
            _sync(self._root)
            oldest = time.time() - LEFT_OVER_S
            for left in writing.iterdir():
                with suppress(FileNotFoundError):
                    if left.stat().st_mtime < oldest:
                        left.unlink()

    def read(self, name: str) -> Content | None:
        with _translated():
            try:
                with (self._root / name).open("rb") as file:
                    return Content(file.read(), _version(os.fstat(file.fileno())))
            except FileNotFoundError:
                return None

    def write(self, name: str, body: bytes, *, replacing: Version | None) -> bool:
        place = self._root / name
        aside = self._root / WRITING / f"{uuid4().hex}.part"

        with _translated():
            try:
                with aside.open("xb") as file:
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                failpoint("lake.before_rename")
                self._make_folder(place.parent)
                with self._locked():
                    if self._present(place) != replacing:
                        return False
                    aside.rename(place)
            finally:
                aside.unlink(missing_ok=True)
            self._sync_up(place.parent)
        return True

    def versions(self, prefix: str) -> Mapping[str, Version]:
        versions: dict[str, Version] = {}
        with _translated():
            for file in (self._root / prefix).rglob("*.parquet"):
                with suppress(FileNotFoundError):
                    versions[file.relative_to(self._root).as_posix()] = _version(file.stat())
        return versions

    def _present(self, place: Path) -> Version | None:
        try:
            return _version(place.stat())
        except FileNotFoundError:
            return None

    def settle(self, name: str) -> None:
        with _translated():
            self._sync_up((self._root / name).parent)

    def _sync_up(self, folder: Path) -> None:
        """
        Names too are durable: of the file, and of its folders, whoever has made them and was killed
        before this.
        """
        while folder != self._root:
            _sync(folder)
            folder = folder.parent
        _sync(self._root)

    def _make_folder(self, folder: Path) -> None:
        """Up to the root, which `prepare` has made: without it, a disk may not be mounted."""
        if folder != self._root and not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Whoever is stopped in here stops others: they wait, and say so, but lose nothing."""
        with (self._root / LOCK).open("rb") as lock:
            until = time.monotonic() + LOCK_WITHIN_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise away(
                            "another process holds its lock", "its lock was not released"
                        ) from None
                    time.sleep(LOCK_AGAIN_S)
            yield


def _version(stat: os.stat_result) -> Version:
    return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated() -> Iterator[None]:
    """What the operating system says, as Unavailable, without the path."""
    try:
        yield
    except Unavailable:
        raise
    except OSError as error:
        number = error.errno or 0
        raise away(_REASONS.get(number, "away"), os.strerror(number)) from error
