"""
Run a module under a wall clock that a test steps: `python stepped_clock.py FILE MODULE ARGUMENT…`.

FILE holds the seconds by which the clock is wrong, read at each look at it: writing it steps the
clock of a running process. `time.time`, `time.time_ns` and `datetime.now` of our own modules obey
it; the monotonic clock does not, as with a real step. What C libraries read (librdkafka's record
timestamps) is right all the time.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

TIME, TIME_NS = time.time, time.time_ns
LOOKS_AT_THE_CLOCK = "datetime.now("


class _Stepped(type):
    """Whatever is no look at the clock is `datetime`'s own."""

    def __getattr__(cls, name: str) -> Any:
        return getattr(datetime, name)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)

    def __call__(cls, *arguments: Any, **named: Any) -> datetime:
        return datetime(*arguments, **named)  # noqa: DTZ001 - whatever the caller says


class SteppedDatetime(metaclass=_Stepped):
    @staticmethod
    def now(tz: tzinfo | None = None) -> datetime:
        return datetime.fromtimestamp(time.time(), tz)


def step_the_clock(file: Path) -> None:
    """From now on the clock is wrong by what the file says."""
    time.time = lambda: TIME() + float(file.read_text())
    time.time_ns = lambda: TIME_NS() + int(float(file.read_text()) * 1e9)


def step_modules(package: str) -> list[str]:
    """Give the stepped `datetime` to each module of the kit and of `package` that asks the time."""
    import orderflow  # noqa: PLC0415 - `time` is stepped before anything of ours is loaded

    root = Path(orderflow.__file__).parent
    rooms = [root / "messaging", root.joinpath(*package.split(".")[1:])]
    stepped = []
    for file in sorted(file for room in rooms for file in room.rglob("*.py")):
        if LOOKS_AT_THE_CLOCK not in file.read_text() or "testing" in file.parts:
            continue
        name = ".".join(("orderflow", *file.relative_to(root).with_suffix("").parts))
        module: Any = importlib.import_module(name)
        module.datetime = SteppedDatetime
        stepped.append(name)
    return stepped


if __name__ == "__main__":
    _, offset_file, service, *arguments = sys.argv
    step_the_clock(Path(offset_file))
    step_modules(service)
    sys.argv = [service, *arguments]
    runpy.run_module(service, run_name="__main__", alter_sys=True)
