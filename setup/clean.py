"""
`make clean-all`: stop the stack and delete everything that set-up and stack made, after asking.

Standard library only: it works with a broken environment too, and deletes the environment.
"""
# ruff: noqa: T201

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from orderflow.stack.parts.jars import default_cache_dir  # noqa: E402 - the path must be set first
from orderflow.stack.preflight import checkout_name  # noqa: E402

TOOL_CACHES = (
    ".pythons",
    ".mypy_cache",
    ".ruff_cache",
    ".import_linter_cache",
    ".hypothesis",
    ".pytest_cache",
    "build",
    "dist",
)


def main() -> int:
    places = {
        "data and logs of this checkout's stack": data_dir(),
        "cache: jars and wheels, shared with other checkouts": default_cache_dir(),
        "virtual environment": ROOT / ".venv",
    }
    there = {what: place for what, place in places.items() if place.exists()}
    for what, place in there.items():
        print(f"  {place}  ({what})")
    if there and "--yes" not in sys.argv[1:] and not agreed():
        print("nothing was deleted")
        return 1
    return 0 if not there else delete(list(there.values()))


def agreed() -> bool:
    if not sys.stdin.isatty():
        print(
            "clean-all deletes all this and nobody is here to be asked: make clean-all YES=1",
            file=sys.stderr,
        )
        return False
    return input("Stop the stack and delete all this? [y/N] ").strip().lower() in ("y", "yes")


def delete(places: list[Path]) -> int:
    """The stack is stopped first, or it would write on; what can't be deleted is named."""
    command = ROOT / ".venv" / "bin" / "orderflow"
    if command.exists():
        for brokers in ("1", "3"):
            subprocess.run(
                [command, "down", "--brokers", brokers], check=False, stderr=subprocess.DEVNULL
            )

    failed = []
    for place in places + [ROOT / name for name in TOOL_CACHES]:
        shutil.rmtree(
            place,
            onerror=lambda _function, path, _error: (
                failed.append(path) if Path(path).exists() else None
            ),
        )

    for path in failed[:3]:
        print(f"orderflow: could not delete {path}: remove it by hand", file=sys.stderr)
    print("deleted" if not failed else f"deleted, but for {len(failed)} files")
    return 1 if failed else 0


def data_dir() -> Path:
    """As `orderflow.stack.settings` decides it, without the libraries that it needs."""
    chosen = os.environ.get("ORDERFLOW_STACK__STATE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/orderflow") / checkout_name(ROOT)
    state = os.environ.get("XDG_STATE_HOME", "")
    return (
        (Path(state) if state.startswith("/") else Path.home() / ".local/state")
        / "orderflow"
        / checkout_name(ROOT)
    )


if __name__ == "__main__":
    sys.exit(main())
