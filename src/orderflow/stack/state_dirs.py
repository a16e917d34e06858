"""
The state directories of this machine's checkouts: whose each is, how large, and whether it is used.

`up` writes the checkout's path into its directory; a directory whose checkout has gone can be
deleted with `orderflow state prune`. One that an older version made names no checkout, and stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orderflow.stack.settings import StackSettings, checkout, default_state_dir
from orderflow.stack.supervise.control import answers

OWNER = "checkout"
INSTANCES = ("single", "cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDir:
    """
    A state directory with its instances. `checkout`: None if the directory does not name it.

    `used_at`: when an instance in it last wrote to its logs.
    """

    path: Path
    checkout: Path | None
    is_running: bool
    size_bytes: int
    used_at: datetime | None

    @property
    def is_orphan(self) -> bool:
        """Whether nobody can start it any more: its checkout is known, and has gone."""
        return self.checkout is not None and not self.checkout.exists() and not self.is_running


def name_owner(settings: StackSettings) -> None:
    """Write this checkout's path into the state directory. Raises OSError."""
    (settings.home.parent / OWNER).write_text(f"{checkout()}\n", encoding="utf-8")


def is_new(settings: StackSettings) -> bool:
    """Whether the instance has no data yet."""
    return not settings.data.exists()


def state_dirs(root: Path | None = None) -> list[StateDir]:
    """Those below `root`, by default where checkouts have theirs; the last used first."""
    root = root or default_state_dir().parent
    if not root.is_dir():
        return []
    dirs = [_read(path) for path in root.iterdir() if any((path / i).is_dir() for i in INSTANCES)]
    long_ago = datetime.min.replace(tzinfo=UTC)
    return sorted(dirs, key=lambda each: each.used_at or long_ago, reverse=True)


def delete(state: StateDir) -> None:
    """Delete an orphan with all its data. Raises OSError."""
    assert state.is_orphan
    shutil.rmtree(state.path)


def _read(path: Path) -> StateDir:
    owner = path / OWNER
    logs = [log.stat().st_mtime for name in INSTANCES for log in (path / name / "logs").glob("*")]
    return StateDir(
        path=path,
        checkout=Path(owner.read_text(encoding="utf-8").strip()) if owner.is_file() else None,
        is_running=any(
            (path / name / "run").is_dir() and answers(path / name / "run") for name in INSTANCES
        ),
        size_bytes=sum(_sizes(path)),
        used_at=datetime.fromtimestamp(max(logs), UTC) if logs else None,
    )


def _sizes(path: Path) -> Iterator[int]:
    """On the disk, of every file that is still there when it is looked at."""
    for directory, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                yield Path(directory, name).lstat().st_blocks * 512
