"""
The Java parts of the local stack: Kafka's jars and the registry's archive, by coordinates and checksum.

`jars.lock` names every file with its sha256 and its size; `make lock-jars` makes it. The files live in a cache that
all checkouts of a user share, in folders named by what the lock wants to be in them: two locks live side by side.

Guarantee: what `locate` returns is whole. A file takes its final name only after its checksum was right; an archive is
unpacked beside its place and renamed. A fetch that was broken off goes on where it stopped, file by file; of two
fetches at once the second waits and then finds everything there. Failure is one line, `FetchFailed`, saying what to do.

Imports nothing outside the standard library until something is missing, and then only what `requirements/fetch.in`
names: set-up runs this while everything else is still being installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orderflow.messaging.errors import OrderflowError

LOCK = Path(__file__).with_name("jars.lock")

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all), from one thread at a time."""


class FetchFailed(OrderflowError):
    """The Java parts can't be had. The message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file: `coordinates` are `group:artifact:version:packaging[:classifier]`, `use` is `kafka` or `apicurio`."""

    use: str
    coordinates: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        _, artifact, version, packaging, *classifier = self.coordinates.split(":")
        return "-".join([artifact, version, *classifier]) + f".{packaging}"


@dataclass(frozen=True, slots=True)
class Jars:
    """Where the Java parts are: a class path (one directory, with the star) and the registry's unpacked folder."""

    kafka_classpath: str
    apicurio_home: Path


def default_cache_dir() -> Path:
    """The user's cache: `ORDERFLOW_STACK__CACHE_DIR`, else `orderflow` in the XDG cache directory."""
    chosen = os.environ.get("ORDERFLOW_STACK__CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "orderflow"


def read_lock(path: Path = LOCK) -> tuple[Part, ...]:
    """The parts that `jars.lock` names, in its order."""
    rows = [
        line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")
    ]
    return tuple(
        Part(use, coordinates, sha256, int(size)) for use, coordinates, sha256, size in rows
    )


def locate(cache_dir: Path, *, lock: Path = LOCK) -> Jars:
    """Where the parts are; raises FetchFailed if one is missing."""
    parts = read_lock(lock)
    missing = [part for part in parts if not is_present(cache_dir, part, parts)]
    if missing:
        raise FetchFailed(
            f"{missing[0].file_name} is not in {cache_dir} ({len(missing)} of {len(parts)} missing): run `make setup`"
        )
    return Jars(
        kafka_classpath=str(folder(cache_dir, "kafka", parts) / "*"),
        apicurio_home=folder(cache_dir, "apicurio", parts),
    )


def fetch(
    cache_dir: Path,
    progress: Progress | None = None,
    *,
    maven_url: str | None = None,
    lock: Path = LOCK,
) -> Jars:
    """
    Fetch what is missing, and say where all of it is. A few milliseconds when nothing is missing.

    `maven_url` is another Maven repository than the public one, a mirror say. Raises FetchFailed.
    """
    parts = read_lock(lock)
    if not all(is_present(cache_dir, part, parts) for part in parts):
        from orderflow.stack.parts.download import fetch_missing  # noqa: PLC0415 - needs libraries that set-up still installs

        fetch_missing(cache_dir, parts, progress or _silent, maven_url)
    return locate(cache_dir, lock=lock)


def folder(cache_dir: Path, use: str, parts: Sequence[Part]) -> Path:
    """The directory of one use, named by what the lock wants to be in it."""
    wanted = "".join(part.sha256 for part in parts if part.use == use)
    return cache_dir / "jars" / f"{use}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def is_present(cache_dir: Path, part: Part, parts: Sequence[Part]) -> bool:
    """Whether the part is in its place. Its checksum was right when it got there; its size must still be."""
    place = folder(cache_dir, part.use, parts)
    if part.file_name.endswith(".tar.gz"):
        return place.is_dir()
    file = place / part.file_name
    return file.is_file() and file.stat().st_size == part.size_bytes


def install(file: Path, part: Part, place: Path) -> None:
    """Move a verified file to its place; an archive is unpacked, and takes its name when it is whole."""
    if not part.file_name.endswith(".tar.gz"):
        place.mkdir(parents=True, exist_ok=True)
        file.replace(place / part.file_name)
        return
    unpacked = file.with_name(f"{file.name}.unpacked")
    with tarfile.open(file) as archive:
        # Pythons before 3.11.4 have no filters; the checksum has already said that the archive is the one we know.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(unpacked)  # noqa: S202 - checked by sha256
    unpacked.rename(place)
    file.unlink()


def _silent(_done: int, _total: int) -> None:
    """No progress is wanted."""


def _as_json(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), flush=True)  # noqa: T201 - set-up reads it


def main() -> int:
    """`python -m orderflow.stack.parts.jars`: fetch; progress as JSON lines, failure as one line."""
    try:
        fetch(default_cache_dir(), _as_json, maven_url=os.environ.get("ORDERFLOW_STACK__MAVEN_URL"))
    except FetchFailed as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
