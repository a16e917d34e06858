"""
Lets Kafka, the registry and Connect run once so that later starts are quick: `python -m
orderflow.stack.training`.

Each writes a cache of their loaded classes when it ends, some 90 MB each, beside the environment's
packages. Takes half a minute, and no time where the caches are there. A cache takes its name only
when it is whole; two trainings at once wait for each other. Without caches everything works, and
starts more slowly.
"""

from __future__ import annotations

import fcntl
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orderflow.messaging.errors import OrderflowError
from orderflow.stack.parts import connect, jars, kafka, registry
from orderflow.stack.parts.java import quick_start_file
from orderflow.stack.supervise.component import Command, Component
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack

WRITES_WITHIN_S = 80.0


def train() -> list[Path]:
    """
    Make the caches that are missing; those that were made.

    Raises StackFailed when the stack can't start, OSError when the environment can't be written to.
    """
    wanted = _wanted()
    if not any(not file.is_file() for file in wanted.values()):
        return []

    with _alone(next(iter(wanted.values())).parent):
        missing = {name: file for name, file in wanted.items() if not file.is_file()}
        if missing:
            # The deployment's steps, too: they make the servers load what serves requests.
            with temporary_stack(
                (*INFRASTRUCTURE, *missing.keys() & {"connect"}),
                change=lambda part: _trained(part, missing),
            ) as stack:
                del stack
        return [file for file in missing.values() if _settled(file)]


def _wanted() -> Mapping[str, Path]:
    """The cache of each component, by its name."""
    cache_dir = jars.default_cache_dir()
    parts = jars.locate(cache_dir)
    on_demand = jars.are_present(cache_dir, jars.NEEDED_BY["connect"])

    return {
        "kafka": quick_start_file(kafka.SERVER, parts.kafka_classpath),
        "registry": quick_start_file(registry.SERVER, str(parts.apicurio_home)),
        **(
            {"connect": quick_start_file(connect.SERVER, connect.classpath(cache_dir))}
            if on_demand
            else {}
        ),
    }


def _trained(part: Component, missing: Mapping[str, Path]) -> Component:
    """The component as it is run for its cache; another is left as it is."""
    if part.name not in missing:
        return part

    def command() -> Command:
        plain = part.command()
        program, *arguments = plain.argv
        output = f"-XX:AOTCacheOutput={_unfinished(missing[part.name])}"
        return replace(plain, argv=(program, output, *arguments))

    return replace(part, command=command, stop_signals=((signal.SIGTERM, WRITES_WITHIN_S),))


def _settled(file: Path) -> bool:
    """Give the cache its name; False if none was written."""
    unfinished = _unfinished(file)
    if not unfinished.is_file():
        return False
    unfinished.rename(file)
    return True


def _unfinished(file: Path) -> Path:
    return file.with_suffix(".new")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Exit code 0 also when nothing could be trained: then starts are as before."""
    try:
        train()
    except (OrderflowError, OSError) as error:
        print(f"starts stay slow: {error}", file=sys.stderr)  # noqa: T201 - the step's own log
    return 0


if __name__ == "__main__":
    sys.exit(main())
