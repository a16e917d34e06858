"""
`python -m orderflow.services.revenue.rebuild`: the totals anew from `payments`; see
`messaging.streams.rebuild`.

For `orderflow revenue rebuild`, which starts it: one JSON object on each line of standard output.
A step of the way has `step`, `done` and `total`; a difference has `key`, or the `facts` of one
partition; the last line has `result` or `error`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

import msgspec

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.streams.rebuild.differences import Differences
from orderflow.messaging.streams.rebuild.rebuild import Rebuild, RebuildSettings, ShowStep
from orderflow.messaging.telemetry import configure
from orderflow.services.revenue.bootstrap import SERVICE
from orderflow.services.revenue.listeners import LISTENER

SHOW_EVERY_S = 0.2

Emit = Callable[[object], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed, 2 a setting is wrong, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m orderflow.services.revenue.rebuild")
    parser.add_argument("--dry-run", action="store_true", help="compare only")
    parser.add_argument("--from-retained", action="store_true", help="begin where the log begins")
    parser.add_argument("--actor", default="anonymous")
    parser.add_argument("--reason", default="comparison")
    options = parser.parse_args(arguments)

    try:
        _run(options, _emit)
    except OrderflowError as error:
        _emit({"error": str(error)})
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace, emit: Emit) -> None:
    settings = SERVICE.load()
    configure(SERVICE.name, settings.telemetry)
    rebuild_settings = RebuildSettings(
        listener=LISTENER,
        kafka=settings.kafka,
        catalogue=CATALOGUE,
        actor=options.actor,
        reason=options.reason,
        from_retained=options.from_retained,
    )

    with (
        closing(Registry(settings.registry)) as registry,
        closing(Rebuild(rebuild_settings, registry, _showing(emit))) as rebuild,
    ):
        differences = rebuild.compare() if options.dry_run else rebuild.run()
        _emit_differences(differences, emit)
        count = len(differences.keys) + len(differences.facts)
        emit({"result": count, "unreadable": rebuild.unreadable})


def _emit_differences(differences: Differences, emit: Emit) -> None:
    for (table, partition), key, present, recomputed in differences.keys:
        emit(
            {
                "table": table,
                "partition": partition,
                "key": key.decode(),
                "present": present,
                "recomputed": recomputed,
            }
        )

    for (table, partition), missing, surplus in differences.facts:
        facts = {"missing": missing, "surplus": surplus}
        emit({"table": table, "partition": partition, "facts": facts})


def _showing(emit: Emit) -> ShowStep:
    """Emits steps, not more often than anybody can read them."""
    shown: dict[str, Any] = {"step": "", "at": 0.0}

    def show(step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step != shown["step"] or now - shown["at"] >= SHOW_EVERY_S or done >= total > 0:
            shown.update(step=step, at=now)
            emit({"step": step, "done": done, "total": total})

    return show


def _emit(line: object) -> None:
    # Whoever reads may have been interrupted, too: then nobody misses the line.
    with suppress(BrokenPipeError):
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
