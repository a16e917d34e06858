"""
Python packages that only some stacks need: groups of requirements beside those of run time.

A group is there if each of its packages is, in the version that is locked. Otherwise set-up itself
installs it: by hash, with its own lines of progress, one set-up of a checkout at a time. It
remembers the group, so that a later set-up leaves it there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.stack.settings import checkout

LAKE = "lake"
INSTALL_WITHIN_S = 600.0

_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def missing(group: str, root: Path | None = None) -> list[str]:
    """
    The packages of `group` that are not there in their locked versions, as `name==version`.

    Raises ConfigurationError where orderflow was installed without its requirements.
    """
    file = (root or checkout()) / "requirements" / f"{group}.txt"
    if not file.is_file():
        raise ConfigurationError(
            f"this installation has no requirements of the group {group!r}: install its packages "
            f"from requirements/{group}.txt of the sources, by hash, into {sys.prefix}"
        )
    return [
        f"{name}=={locked}"
        for name, locked in _LOCKED.findall(file.read_text(encoding="utf-8"))
        if _present(name) != locked
    ]


def ensure(group: str, say: Callable[[str], object], root: Path | None = None) -> None:
    """
    Install `group` if anything of it is missing; what that takes is said on stderr, step by step.

    Raises OrderflowError if it can't be installed; set-up has then said why, in a line. What has
    arrived is kept, and the same command goes on from there.
    """
    root = root or checkout()
    lacking = missing(group, root)
    if not lacking:
        return

    say(f"installing what only the {group} needs: {', '.join(lacking)}")
    # The Python that made the environment: the environment's own may be replaced meanwhile.
    python = getattr(sys, "_base_executable", "") or sys.executable
    try:
        installing = subprocess.run(
            [python, "-B", str(root / "setup" / "bootstrap.py"), group],
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=INSTALL_WITHIN_S,
        )
    except subprocess.TimeoutExpired as error:
        raise OrderflowError(
            f"the packages of the {group} did not arrive within {INSTALL_WITHIN_S:.0f} s: run the "
            "same command again; what has arrived is kept"
        ) from error

    if installing.returncode != 0 or missing(group, root):
        raise OrderflowError(
            f"the packages of the {group} are not installed: the line above says why; "
            f"`setup/run {group}` tries it alone"
        )


def _present(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
