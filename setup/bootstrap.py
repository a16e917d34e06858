"""
Set-up: makes `.venv` and fetches the Java parts, before any `make` verb that needs them.

Run by the system's Python, so standard library only. A finished set-up is stamped with a hash of
everything it depends on, so that the next run takes milliseconds. An environment that was left
unfinished, or whose Python is gone, is made anew: downloads are in caches, so that costs seconds.
Two set-ups of one checkout at once wait for each other.

    setup/run [--jars] [--ports] [group …]      groups: development, bench, lake; run time always
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from install import Failed, Installer, jars_are_there  # noqa: E402 - the path must be set first
from screen import Screen  # noqa: E402

from orderflow.stack import preflight  # noqa: E402
from orderflow.stack.parts.jars import ON_DEMAND, default_cache_dir  # noqa: E402

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "orderflow-setup.json"
UNFINISHED = VENV / "orderflow-setup.unfinished"
GROUPS = ("development", "bench", "lake")
VENV_BYTES = 650_000_000
CACHE_BYTES = 650_000_000
STATE_BYTES = 200_000_000


def main() -> int:
    """Exit code 0 when all is there, else 1 after one line on stderr; 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="setup/run", description="Set up what the make verbs need."
    )
    parser.add_argument("--jars", action="store_true", help="fetch the Java parts too")
    parser.add_argument(
        "--ports", action="store_true", help="look whether the stack's ports are free"
    )
    parser.add_argument(
        "groups", nargs="*", help="requirements beside run-time: development, bench, lake"
    )
    options = parser.parse_args()

    screen = Screen()
    try:
        with alone():
            set_up(screen, set(options.groups), jars=options.jars, ports=options.ports)
    except Failed as error:
        screen.clear()
        print(f"orderflow: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        screen.clear()
        print(  # noqa: T201
            "orderflow: set-up interrupted; the same command goes on from here", file=sys.stderr
        )
        return 130
    return 0


def set_up(screen: Screen, groups: set[str], *, jars: bool, ports: bool) -> None:
    """Bring the environment, and with `jars` the Java parts, to what this checkout requires."""
    for name in groups:
        requirements(name)

    present = installed_groups()
    wanted = sorted(groups | set(present or ()))
    synced = (
        present is not None and set(wanted) == set(present) and stamp(wanted) == STAMP.read_text()
    )
    # Developers' tests need what only some users ask for.
    extras = ON_DEMAND if "development" in groups else ()
    if synced and (not jars or jars_are_there(extras)):
        return

    screen.title(
        "Setting up" if present is not None else "Setting up; the first time takes a minute or two"
    )
    check_machine(screen, fresh=present is None, ports=ports)

    begun = time.monotonic()
    installer = Installer(root=ROOT, python=PYTHON, screen=screen, extras=extras)
    if synced:
        installer.jars_only()
        return

    if not usable():
        make_venv(screen)
    UNFINISHED.touch()
    installer.run(wanted, java=jars)
    STAMP.write_text(stamp(wanted))
    UNFINISHED.unlink()
    screen.title(f"set up in {time.monotonic() - begun:.0f} s")


def check_machine(screen: Screen, *, fresh: bool, ports: bool) -> None:
    """The preflight, before any download. If little is left to fetch, no room is required."""
    begun = time.monotonic()
    places = {
        ROOT: VENV_BYTES if fresh else 0,
        default_cache_dir().absolute(): CACHE_BYTES if fresh else 0,
        state_dir(): STATE_BYTES if fresh else 0,
    }
    facts = preflight.gather(places, checkout=ROOT if ports else None)
    troubles = preflight.troubles(facts)
    if troubles:
        raise Failed("\norderflow: ".join(troubles))

    free = min(facts.free_bytes.values()) / 1e9
    screen.done(
        "preflight",
        time.monotonic() - begun,
        f"Python {facts.python[0]}.{facts.python[1]}, {free:.0f} GB free",
    )


def state_dir() -> Path:
    """Roughly where the stack's data will be; `orderflow.stack.settings` decides."""
    chosen = os.environ.get("ORDERFLOW_STACK__STATE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path("/var/lib") if os.geteuid() == 0 else Path.home()


def installed_groups() -> list[str] | None:
    """The groups of the last finished set-up; None without one, or if its Python is gone."""
    if UNFINISHED.exists() or not STAMP.exists() or not starts():
        return None
    try:
        return list(json.loads(STAMP.read_text())["groups"])
    except (ValueError, KeyError, OSError):
        return None


def usable() -> bool:
    """Whether the environment can be built upon."""
    return not UNFINISHED.exists() and starts(
        "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    )


def starts(program: str = "") -> bool:
    try:
        return (
            subprocess.run(
                [PYTHON, "-I", "-c", program], capture_output=True, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False


def stamp(groups: Iterable[str]) -> str:
    """A hash of what the environment depends on: requirements, metadata, the checkout's path."""
    groups = list(groups)
    sources = [
        *(requirements(name) for name in ("installer", "runtime", *groups)),
        ROOT / "pyproject.toml",
        ROOT / "hatch_build.py",
    ]
    digest = hashlib.sha256(str(ROOT).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return json.dumps({"groups": groups, "digest": digest.hexdigest()})


def requirements(name: str) -> Path:
    if name not in ("installer", "runtime", *GROUPS):
        raise Failed(f"there are no requirements called {name!r}: choose from {', '.join(GROUPS)}")
    return ROOT / "requirements" / f"{name}.txt"


def make_venv(screen: Screen) -> None:
    begun = time.monotonic()
    screen.working("virtual environment")
    if VENV.is_symlink() or VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    UNFINISHED.touch()

    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if made.returncode != 0:
        reason = (made.stderr or made.stdout).strip()[-400:]
        raise Failed(f"the virtual environment could not be made: {reason}")
    screen.done("virtual environment", time.monotonic() - begun)


@contextmanager
def alone() -> Iterator[None]:
    """One set-up of this checkout at a time. The lock is on a directory of the checkout itself."""
    handle = os.open(ROOT / "setup", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
