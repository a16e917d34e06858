"""
A small file system for one directory of one process: a tmpfs in a mount namespace of its own.

Needs root, and a kernel that lets it mount; `why_not` says what is missing. The file system goes
when the last process in its namespace ends; nothing of it shows outside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
ROOM_MIB = 48
PROGRAMS = ("unshare", "nsenter", "mount")

_MOUNT = """
set -e
mkdir -p "$1.small"
mount -t tmpfs -o size="$2" tmpfs "$1.small"
cp -a --sparse=always "$1/." "$1.small/"
mount --move "$1.small" "$1"
echo mounted
exec sleep 3600
"""


def why_not() -> str:
    """Why no small file system can be had here; an empty string when it can."""
    if os.geteuid() != 0:
        return "a small file system needs root"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"a small file system needs {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"this kernel mounts nothing: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class SmallDisk:
    """The directory `place`, as whoever was started with `command` sees it."""

    place: Path
    holder: subprocess.Popen[str]

    @classmethod
    def over(cls, place: Path) -> SmallDisk:
        """Over what is in the directory now, with some room. Nobody may be writing in it."""
        used = sum(file.stat().st_blocks * 512 for file in place.rglob("*") if file.is_file())
        size = f"{used // MIB + ROOM_MIB}m"
        holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", _MOUNT, "small-disk", str(place), size],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        line = holder.stdout.readline()
        assert line == "mounted\n", f"the small disk was not mounted: {line!r}"
        return cls(place, holder)

    def command(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The same program, where this disk is mounted."""
        return ("nsenter", "-t", str(self.holder.pid), "-m", "--wd=/", "--", *argv)

    @property
    def _ballast(self) -> Path:
        return Path(f"/proc/{self.holder.pid}/root{self.place}/ballast")

    def fill(self) -> None:
        """Not a byte is left."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def let_go(self) -> None:
        """Whoever runs on it keeps it; nobody can be started on it any more."""
        self.holder.kill()
        self.holder.wait()
        assert self.holder.stdout is not None
        self.holder.stdout.close()
