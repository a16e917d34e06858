"""
`python -m tests.support.listener_probe_worker`: the kit's container, with a handler that writes a
diary.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from tests.support.probe_language import NAMESPACE, Asked, Told, catalogue, topics

from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.errors import (
    ConfigurationError,
    Fenced,
    OrderflowError,
    Poison,
    Refused,
    Unavailable,
)
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import (
    Caused,
    ExactlyOnce,
    InboxOutbox,
    Listener,
    Received,
    RetryPolicy,
)
from orderflow.messaging.postgres import Cursor, array
from orderflow.messaging.settings import DatabaseSettings, ProcessSettings, Section, load
from orderflow.messaging.telemetry import configure, render_metrics


class Probe(Section):
    name: str
    group: str
    partitions: int = 3
    delivery: Literal["exactly-once", "inbox-outbox"] = "exactly-once"
    protocol: Literal["classic", "consumer"] = "classic"
    slot: int = 0
    session_timeout_ms: int = 15_000
    back_off_s: tuple[float, ...] = (2.0, 30.0)
    diary: Path
    ready: Path
    broken: Path | None = None
    """While this file exists, the handler fails for every record."""
    database: DatabaseSettings | None = None


class Settings(ProcessSettings):
    probe: Probe


class Handler:
    """
    One line in the diary for each record of each call: `<pid> <key> <number>
    <topic-partition@offset>`.
    """

    def __init__(self, probe: Probe) -> None:
        self._broken = probe.broken
        self._diary = os.open(probe.diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def compute(self, batch: Sequence[Received]) -> list[Caused]:
        self._enter(batch)
        return [
            (
                record,
                Told(
                    id=record.event.id,
                    number=record.event.number,
                    behaviour=record.event.behaviour,
                    at=record.event.at,
                ),
            )
            for record in batch
        ]

    def effect(self, cursor: Cursor, batch: Sequence[Received]) -> Iterable[Caused]:
        failpoint("probe.before_effect")
        ids = array([str(record.metadata.id) for record in batch])
        keys = array([record.event.id for record in batch])
        numbers = array([record.event.number for record in batch])
        cursor.execute(_EFFECT, (ids, keys, numbers))
        self._enter(batch)
        return ()

    def _enter(self, batch: Sequence[Received]) -> None:
        pid = os.getpid()
        lines = (
            f"{pid} {record.event.id} {record.event.number}"
            f" {record.topic}-{record.partition}@{record.offset}\n"
            for record in batch
        )
        os.write(self._diary, "".join(lines).encode())
        if self._broken is not None and self._broken.exists():
            raise RuntimeError("the handler is broken for everything")
        for record in batch:
            _behave(record.event.behaviour)


def _behave(behaviour: str) -> None:
    word, _, until = behaviour.partition(":")
    if word == "fail" or (word == "fail-until" and time.time() < float(until)):
        raise ValueError("told to fail")
    if word == "away-until" and time.time() < float(until):
        raise Unavailable("told to be away", resource="provider")
    if word == "dead":
        raise Poison("told to be poison")


def main() -> int:
    settings = load(Settings)
    probe = settings.probe
    configure(probe.name, settings.telemetry)
    handler = Handler(probe)

    inputs, outputs = topics(probe.name, probe.partitions)
    listener = Listener(
        name=probe.name,
        group=probe.group,
        source="/probe",
        namespace=NAMESPACE,
        topics=(inputs,),
        handles=(Asked,),
        publishes=(outputs,),
        delivery=ExactlyOnce(handler=handler.compute)
        if probe.delivery == "exactly-once"
        else InboxOutbox(handler=handler.effect),
        retry=RetryPolicy(back_off_s=probe.back_off_s),
    )
    container = Container(
        ContainerSettings(
            listener=listener,
            kafka=settings.kafka,
            registry=settings.registry,
            catalogue=catalogue(probe.name),
            slot=probe.slot,
            database=probe.database,
            protocol=probe.protocol,
            consumer_overrides={"session.timeout.ms": probe.session_timeout_ms},
        )
    )

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_publish_health, args=(container, probe.ready), daemon=True).start()

    try:
        container.run(stop)
        probe.ready.with_suffix(".metrics").write_bytes(render_metrics()[0])
    except (Fenced, Refused) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 3
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OrderflowError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _publish_health(container: Container, path: Path) -> None:
    """Keep the container's reasons in a file; an empty file means ready."""
    scratch = path.with_suffix(".new")
    written: list[str] | None = None
    while True:
        if (reasons := container.reasons()) != written:
            written = reasons
            scratch.write_text("\n".join(reasons))
            scratch.rename(path)
        time.sleep(0.05)


_EFFECT = """
INSERT INTO effect (event_id, key, number) SELECT * FROM unnest(%s::uuid[], %s::text[], %s::int[])
"""

if __name__ == "__main__":
    sys.exit(main())
