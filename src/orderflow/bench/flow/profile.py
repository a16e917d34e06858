"""
Flame graphs of processes that run, by py-spy: one file of speedscope's format for each.

A hundred samples a second, and the processes are not halted for them: a sample may be torn, and is
left out then. Open the files at https://www.speedscope.app or in its offline build.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

PY_SPY = Path(sys.executable).parent / "py-spy"
SAMPLES_PER_S = 100
WRITTEN_WITHIN_S = 60.0


@contextmanager
def recording(pids: Mapping[str, int], directory: Path, *, seconds: float) -> Iterator[list[str]]:
    """
    Record the Python processes among them for so long.

    Yields a list that has, after the block, a sentence for each that could not be recorded: the
    others are all the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    recorders = {
        name: _recorder(pid, directory / f"{name}.speedscope.json", seconds)
        for name, pid in pids.items()
        if _is_python(pid)
    }

    failures = list[str]()
    try:
        yield failures
        failures += [
            f"{name} was not recorded: {why}"
            for name, recorder in recorders.items()
            if (why := _failure(recorder))
        ]
    finally:
        for recorder in recorders.values():
            recorder.kill()
            recorder.wait()


def _recorder(pid: int, file: Path, seconds: float) -> subprocess.Popen[str]:
    command = (PY_SPY, "record", "--pid", str(pid), "--duration", str(max(1, round(seconds))))
    options = ("--rate", str(SAMPLES_PER_S), "--nonblocking", "--format", "speedscope")
    return subprocess.Popen(
        (*command, *options, "--output", file),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _failure(recorder: subprocess.Popen[str]) -> str:
    """Why it has recorded nothing; empty if it has."""
    try:
        _, text = recorder.communicate(timeout=WRITTEN_WITHIN_S)
    except subprocess.TimeoutExpired:
        return f"not written within {WRITTEN_WITHIN_S:.0f} s"
    errors = [line for line in text.splitlines() if line.startswith("Error")]
    return (errors or ["py-spy told no reason"])[0] if recorder.returncode else ""


def _is_python(pid: int) -> bool:
    return "python" in Path(psutil.Process(pid).exe()).name
