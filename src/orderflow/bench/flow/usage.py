"""What processes used, from /proc: CPU time, context switches, memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil

TICKS_PER_S = 100
"""USER_HZ: the unit of /proc/stat, a constant of the kernel's interface."""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """By a component, its children and threads included. Memory in MiB, at the end."""

    cpu_s: float = 0.0
    switches: int = 0
    memory_mib: float = 0.0

    def since(self, before: Used) -> Used:
        return Used(
            cpu_s=self.cpu_s - before.cpu_s,
            switches=self.switches - before.switches,
            memory_mib=self.memory_mib,
        )


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Of all components, and of the machine: `busy_s` is what all its cores have worked."""

    at_s: float
    used: dict[str, Used]
    busy_s: float


def snapshot(pids: Mapping[str, int], *, at_s: float) -> Snapshot:
    return Snapshot(
        at_s=at_s, used={name: used_by(pid) for name, pid in pids.items()}, busy_s=_busy_s()
    )


def used_by(pid: int) -> Used:
    """What a process and its descendants have used; a child that ended counts with its parent."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    times = process.cpu_times()
    # A parent has the time of children that it has waited for: connections that were closed.
    cpu_s, switches, memory = times.children_user + times.children_system, 0, 0

    for member in family:
        try:
            spent = member.cpu_times()
            cpu_s += spent.user + spent.system
            switches += _switches(member.pid)
            memory += _memory(member.pid)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
    return Used(cpu_s=cpu_s, switches=switches, memory_mib=memory / 2**20)


def memory_mib(pid: int) -> float:
    """What a process and its descendants occupy."""
    process, memory = psutil.Process(pid), 0
    for member in (process, *process.children(recursive=True)):
        try:
            memory += _memory(member.pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return memory / 2**20


def _switches(pid: int) -> int:
    """Voluntary and other switches of all threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.rpartition(":")[2])
    return total


def _memory(pid: int) -> int:
    """Proportional: what several processes share is divided among them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _busy_s() -> float:
    """What the machine has worked, without what it idled, waited for, or lent to its host."""
    user, nice, system, _idle, _wait, irq, soft, *_ = (
        int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / TICKS_PER_S
