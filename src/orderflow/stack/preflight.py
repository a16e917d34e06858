"""
What a machine must offer, checked before any download: platform, Python, room, rights, ports.

Standard library only: set-up runs it with the system's Python, before there is an environment.
`gather` reads the facts; `troubles` decides, as a function of the facts: one line per trouble,
which ends with what to do.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

DEFAULT_PORTS = {
    "Kafka": 19092,
    "Kafka's controller": 19093,
    "PostgreSQL": 15432,
    "the schema registry": 18081,
    "the schema registry's health": 18082,
    "the order API": 8080,
    "the order relay's health": 8090,
    "the payment API": 8081,
    "the inventory API": 8082,
    "the notification API": 8083,
    "the fulfilment API": 8084,
    "the analytics API": 8085,
    "the revenue API": 8100,
    "the operations API": 8086,
    "the payment provider": 8089,
    "the mail sink": 8025,
    "the mail sink's API": 8087,
}
PYTHON_MIN = (3, 11)
GLIBC_MIN = (2, 28)


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine's facts. `free_bytes` and `needed_bytes` are by file system, `taken` by port."""

    python: tuple[int, int]
    has_venv: bool
    system: str
    machine: str
    glibc: tuple[int, int] | None
    free_bytes: Mapping[Path, int]
    needed_bytes: Mapping[Path, int]
    unwritable: Sequence[Path] = ()
    taken: Mapping[int, str] = field(default_factory=dict)


def troubles(facts: Facts) -> list[str]:
    """One line for each thing in the way; nothing if the machine will do."""
    return [*_platform(facts), *_python(facts), *_room(facts), *_ports(facts)]


def gather(places: Mapping[Path, int], *, checkout: Path | None = None) -> Facts:
    """
    Read the facts. `places` are directories to be, with the bytes that will go there.

    With a `checkout`, the stack's ports are read too, without those that this checkout's own stack
    holds.
    """
    existing = {place: _existing(place) for place in places}
    needed: dict[Path, int] = {}
    first_on: dict[int, Path] = {}
    for place, size in places.items():
        disk = first_on.setdefault(existing[place].stat().st_dev, existing[place])
        needed[disk] = needed.get(disk, 0) + size

    return Facts(
        python=sys.version_info[:2],
        has_venv=find_spec("venv") is not None and find_spec("ensurepip") is not None,
        system=platform.system(),
        machine=platform.machine(),
        glibc=_glibc(),
        free_bytes={disk: shutil.disk_usage(disk).free for disk in needed},
        needed_bytes=needed,
        unwritable=[path for path in existing.values() if not os.access(path, os.W_OK)],
        taken=_taken(_wanted_ports(os.environ), checkout) if checkout else {},
    )


def _platform(facts: Facts) -> list[str]:
    if (facts.system, facts.machine) != ("Linux", "x86_64"):
        here = f"{facts.system} {facts.machine}"
        return [
            (
                f"the local stack runs on Linux x86-64 with glibc, this is {here}: "
                "use such a machine (WSL 2 is one)"
            )
        ]

    if facts.glibc is None or facts.glibc < GLIBC_MIN:
        library = (
            "another C library (musl?)"
            if facts.glibc is None
            else f"glibc {facts.glibc[0]}.{facts.glibc[1]}"
        )
        oldest = ".".join(map(str, GLIBC_MIN))
        return [f"glibc {oldest} or newer is needed, this system has {library}: use a glibc Linux"]
    return []


def _python(facts: Facts) -> list[str]:
    version = f"{facts.python[0]}.{facts.python[1]}"
    if facts.python < PYTHON_MIN:
        return [
            (
                f"Python 3.11 or newer is needed, this is {version}: "
                "install one, or name it: make PYTHON=/path/to/python3"
            )
        ]

    if not facts.has_venv:
        return [
            (
                f"this Python {version} lacks venv or ensurepip: "
                f"apt install python3-venv (or python{version}-venv)"
            )
        ]
    return []


def _room(facts: Facts) -> list[str]:
    lines = [
        f"can't write in {path}: change its owner or rights, or work from another place"
        for path in facts.unwritable
    ]

    for disk, needed in facts.needed_bytes.items():
        free = facts.free_bytes[disk]
        if free < needed:
            lines.append(
                f"the disk of {disk} has {free // 1_000_000} MB free and {needed // 1_000_000} MB "
                "are needed: make room, or move cache and data with ORDERFLOW_STACK__CACHE_DIR and "
                "ORDERFLOW_STACK__STATE_DIR"
            )
    return lines


def _ports(facts: Facts) -> list[str]:
    return [
        f"port {port} is taken by {who}: "
        "stop that, or move all ports with ORDERFLOW_STACK__PORT_OFFSET=1000"
        for port, who in facts.taken.items()
    ]


def checkout_name(checkout: Path) -> str:
    """The name of the directory with this checkout's stack data, without a comma: see Kafka."""
    digest = hashlib.sha256(os.fsencode(checkout)).hexdigest()[:8]
    return f"{checkout.name.replace(',', '-')}-{digest}"


def _existing(place: Path) -> Path:
    """The place itself, or the nearest directory above it that exists."""
    return next(path for path in (place, *place.parents) if path.is_dir())


def _glibc() -> tuple[int, int] | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    major, _, minor = version.partition(".")
    return (int(major), int(minor.partition(".")[0])) if name == "glibc" else None


def _wanted_ports(environment: Mapping[str, str]) -> list[int]:
    """The default ports; none if single ports are set: `orderflow up` checks those itself."""
    if any(
        name.startswith(("ORDERFLOW_STACK__PORTS", "ORDERFLOW_STACK__SERVICES"))
        for name in environment
    ):
        return []
    offset = environment.get("ORDERFLOW_STACK__PORT_OFFSET", "0")
    return [port + int(offset) for port in DEFAULT_PORTS.values()] if offset.isdigit() else []


def _taken(ports: Sequence[int], checkout: Path) -> dict[int, str]:
    """Wanted ports on which a process listens that is not of this checkout's own stack."""
    own = (f"{checkout}/", checkout_name(checkout))
    listening = _listening()
    # Who listens on another address, or on ::1 alone, is not in our way.
    wanted = [port for port in ports if port in listening and not _is_free(port)]
    busy = {port: _holder(listening[port]) for port in wanted}
    return {
        port: who
        for port, (who, command) in busy.items()
        if not any(mark in command for mark in own)
    }


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            # Both may be bound while neither listens.
            probe.listen(1)
        except OSError:
            return False
    return True


def _listening() -> dict[int, str]:
    """Port → inode of the socket that listens there (state 0A in /proc/net/tcp)."""
    rows: list[list[str]] = []
    # Version 4 last: of two who listen on a port, it is the one in our way.
    for table in ("/proc/net/tcp6", "/proc/net/tcp"):
        if Path(table).exists():
            rows += [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16): row[9] for row in rows if row[3] == "0A"}


def _holder(inode: str) -> tuple[str, str]:
    """The process that has that socket: a name for people, and its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = (os.readlink(handle) for handle in (process / "fd").iterdir())  # noqa: PTH115
            if f"socket:[{inode}]" not in held:
                continue
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue

        text = command.decode(errors="replace").strip()
        return f"{Path(text.split(' ')[0]).name} (pid {process.name})", text
    return "a process of another user", ""
