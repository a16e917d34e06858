"""The machine on which a measurement ran, and the CPU time that a process used."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil

_PACKAGES = ("confluent-kafka", "psycopg", "msgspec", "starlette", "uvicorn", "fastavro")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    packages: dict[str, str]
    load_average_before: float

    def __str__(self) -> str:
        return f"{self.cores} cores, {self.cpu}"


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        load_average_before=round(os.getloadavg()[0], 2),
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living children, in seconds."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    times = [member.cpu_times() for member in family]
    return float(sum(spent.user + spent.system for spent in times))


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
