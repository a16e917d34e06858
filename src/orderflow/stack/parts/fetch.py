"""
Fetches the Java parts that are missing. `python -m orderflow.stack.parts.fetch` prints progress;
its arguments are uses beside the core: `zipkin`.

A fetch that was broken off goes on where it stopped, file by file; of two fetches at once the
second waits and then finds everything there.

Imports nothing outside the standard library until a part is missing, and then only the packages of
`requirements/fetch.in`: set-up runs this while everything else is still being installed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orderflow.stack.parts.jars import (
    CORE,
    LOCK,
    FetchFailed,
    Jars,
    Progress,
    are_present,
    default_cache_dir,
    locate,
    read_lock,
)


def fetch_jars(
    cache_dir: Path,
    progress: Progress | None = None,
    *,
    maven_url: str | None = None,
    lock: Path = LOCK,
) -> Jars:
    """
    Fetch the missing core parts; returns where all are. A few milliseconds when nothing is missing.

    Raises FetchFailed, as `fetch_uses` does.
    """
    fetch_uses(cache_dir, CORE, progress, maven_url=maven_url, lock=lock)
    return locate(cache_dir, lock=lock)


def fetch_uses(
    cache_dir: Path,
    uses: Sequence[str],
    progress: Progress | None = None,
    *,
    maven_url: str | None = None,
    lock: Path = LOCK,
) -> None:
    """
    Fetch the missing parts for these uses.

    `maven_url` is another Maven repository than the public one, a mirror say. Raises FetchFailed,
    whose message is one line that ends with what to do.
    """
    if not are_present(cache_dir, uses, lock=lock):
        # Here and not above: it needs libraries that set-up is still installing.
        from orderflow.stack.parts.download import fetch_missing  # noqa: PLC0415

        parts = read_lock(lock, uses=uses)
        fetch_missing(cache_dir, parts, progress or _silent, maven_url)


def _silent(_done: int, _total: int) -> None:
    """No progress is wanted."""


def _as_json(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), flush=True)  # noqa: T201 - set-up reads it


def main() -> int:
    """Fetch; progress as JSON lines, failure as one line and exit code 1."""
    maven_url = os.environ.get("ORDERFLOW_STACK__MAVEN_URL")
    try:
        uses = (*CORE, *sys.argv[1:])
        fetch_uses(default_cache_dir(), uses, _as_json, maven_url=maven_url)
    except FetchFailed as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
