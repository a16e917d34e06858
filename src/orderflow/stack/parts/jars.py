"""
The Java parts of the local stack: Kafka's jars, the registry's archive and, only where they are
asked for, Zipkin's jar, Connect's jars and its plugins, by coordinates and hash.

`jars.lock` names every file with its sha256 and its size; `make lock-jars` makes it. The files live
in a cache that all checkouts of a user share, in folders named by the content of the lock: two
locks live side by side. `fetch` puts them there.

Guarantee: the parts that `locate` returns are whole. A file takes its final name only after its
checksum was right; an archive is unpacked beside its place and renamed.

Imports the standard library alone: set-up runs this before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orderflow.messaging.errors import OrderflowError

LOCK = Path(__file__).with_name("jars.lock")
CORE = ("kafka", "apicurio")
PLUGINS = ("converter", "jdbc-sink", "debezium")
"""What Connect loads, each apart from the others."""

ON_DEMAND = ("zipkin", "connect", *PLUGINS)
"""Uses of the lock that nothing needs unless somebody asks for it."""

NEEDED_BY: Mapping[str, tuple[str, ...]] = {
    "zipkin": ("zipkin",),
    "connect": ("connect", "converter", "jdbc-sink"),
    "debezium": ("debezium",),
}
"""The uses on demand of each service of the stack that has any."""

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all), from one thread at a time."""


class FetchFailed(OrderflowError):
    """A Java part is missing. The message contains which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """
    A file of the lock.

    `coordinates` are `group:artifact:version:packaging[:classifier]`; `use` is one of CORE or
    ON_DEMAND.
    """

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
    """A class path (one directory, with the star) and the registry's unpacked folder."""

    kafka_classpath: str
    apicurio_home: Path


def default_cache_dir() -> Path:
    """`ORDERFLOW_STACK__CACHE_DIR`, else `orderflow` in the user's XDG cache directory."""
    chosen = os.environ.get("ORDERFLOW_STACK__CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "orderflow"


def read_lock(path: Path = LOCK, *, uses: Sequence[str] = (*CORE, *ON_DEMAND)) -> tuple[Part, ...]:
    """The parts that `jars.lock` names for these uses, in its order."""
    rows = [
        line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")
    ]
    return tuple(
        Part(use, coordinates, sha256, int(size))
        for use, coordinates, sha256, size in rows
        if use in uses
    )


def locate(cache_dir: Path, *, lock: Path = LOCK) -> Jars:
    """Where the core parts are; raises FetchFailed if one is missing."""
    parts = read_lock(lock, uses=CORE)
    missing = [part for part in parts if not is_present(cache_dir, part, parts)]
    if missing:
        raise FetchFailed(
            f"{missing[0].file_name} is not in {cache_dir} "
            f"({len(missing)} of {len(parts)} missing): run `make setup`"
        )
    return Jars(
        kafka_classpath=str(folder(cache_dir, "kafka", parts) / "*"),
        apicurio_home=folder(cache_dir, "apicurio", parts),
    )


def zipkin_jar(cache_dir: Path, *, lock: Path = LOCK) -> Path:
    """Where Zipkin is; raises FetchFailed if it is not there."""
    (part,) = read_lock(lock, uses=("zipkin",))
    if not is_present(cache_dir, part, [part]):
        raise FetchFailed(
            f"{part.file_name} is not in {cache_dir}: run `orderflow up --with zipkin`"
        )
    return folder(cache_dir, part.use, [part]) / part.file_name


def place_of(cache_dir: Path, use: str, *, lock: Path = LOCK) -> Path:
    """The directory with all files of a use; raises FetchFailed if one is missing."""
    parts = read_lock(lock, uses=(use,))
    for part in parts:
        if not is_present(cache_dir, part, parts):
            raise FetchFailed(
                f"{part.file_name} is not in {cache_dir}: run `orderflow up --with connect`"
            )
    return folder(cache_dir, use, parts)


def are_present(cache_dir: Path, uses: Sequence[str], *, lock: Path = LOCK) -> bool:
    """Whether all parts for these uses are there."""
    parts = read_lock(lock, uses=uses)
    return all(is_present(cache_dir, part, parts) for part in parts)


def folder(cache_dir: Path, use: str, parts: Sequence[Part]) -> Path:
    """The directory of a use, named by a hash of the parts that the lock lists for it."""
    wanted = "".join(part.sha256 for part in parts if part.use == use)
    return cache_dir / "jars" / f"{use}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def is_present(cache_dir: Path, part: Part, parts: Sequence[Part]) -> bool:
    """Whether the part is there with its size; its checksum was right when it got there."""
    place = folder(cache_dir, part.use, parts)
    if part.file_name.endswith(".tar.gz"):
        return place.is_dir()
    file = place / part.file_name
    return file.is_file() and file.stat().st_size == part.size_bytes


def install(file: Path, part: Part, place: Path) -> None:
    """Move a verified file to its place; an archive is unpacked, and renamed when it is whole."""
    if not part.file_name.endswith(".tar.gz"):
        place.mkdir(parents=True, exist_ok=True)
        file.replace(place / part.file_name)
        return

    unpacked = file.with_name(f"{file.name}.unpacked")
    with tarfile.open(file) as archive:
        # Pythons before 3.11.4 have no filters; by its checksum the archive is the one we know.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(unpacked)  # noqa: S202 - checked by sha256
    unpacked.rename(place)
    file.unlink()
