"""Kafka's own console consumer as a witness: a Java process that shares only the broker with us."""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import msgspec

from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka.groups import forget
from orderflow.messaging.settings import KafkaSettings
from orderflow.stack.parts.java import SMALL_SERVER, java

SHOWN = ("print.key", "print.headers", "print.offset", "print.partition")
RECORD = re.compile(
    rb"Partition:(\d+)\tOffset:(\d+)\t([^\t]*)\t([^\t]*)\t(.*?)\n(?=Partition:\d+\tOffset:|\Z)",
    re.DOTALL,
)
QUIET_S = 0.2
STOPPED_WITHIN_S = 10.0


class Witnessed(msgspec.Struct, frozen=True, kw_only=True):
    """A record as the console consumer printed it, without its topic."""

    partition: int
    offset: int
    key: str
    headers: str
    value: bytes

    @property
    def id(self) -> str | None:
        return self.header(CE_ID)

    def header(self, name: str) -> str | None:
        """A header's text, if neither its name nor the text contains a comma."""
        return dict(entry.partition(":")[::2] for entry in self.headers.split(",")).get(name)


@contextmanager
def console_consumer(
    kafka: KafkaSettings,
    classpath: str,
    topics: Sequence[str],
    *,
    group: str,
    log: Path,
    seen: Callable[[Witnessed], None],
) -> Iterator[None]:
    """
    Run the consumer in that group for as long as the block lasts.

    `seen` is called for each record, on a thread of its own. Standard error goes to `log`. A value
    may contain any byte, a newline too.
    """
    program = "org.apache.kafka.tools.consumer.ConsoleConsumer"
    arguments = {
        "--bootstrap-server": kafka.bootstrap_servers,
        "--include": "|".join(map(re.escape, topics)),
        "--group": group,
        "--isolation-level": "read_committed",
    }
    command = [java(), *SMALL_SERVER, "-Xmx128m", "-cp", classpath, program]
    command += [word for argument in arguments.items() for word in argument]
    command += [word for name in SHOWN for word in ("--formatter-property", f"{name}=true")]

    with log.open("wb") as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
        )

    reader = Thread(target=_read, args=(process, seen), daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        forget(kafka, group)


def _read(process: subprocess.Popen[bytes], seen: Callable[[Witnessed], None]) -> None:
    """A record is whole when the next one has begun, or when nothing more comes for a moment."""
    assert process.stdout is not None
    text, seen_count, ended = b"", 0, False
    while not ended:
        quiet = not select.select([process.stdout], [], [], QUIET_S)[0]
        if not quiet:
            chunk = os.read(process.stdout.fileno(), 65536)
            text, ended = text + chunk, not chunk

        records = list(RECORD.finditer(text))
        whole = len(records) if quiet or ended else len(records) - 1
        for record in records[seen_count:whole]:
            seen(_witnessed(record))
        seen_count = max(whole, seen_count)


def _witnessed(record: re.Match[bytes]) -> Witnessed:
    partition, offset, headers, key, value = record.groups()
    return Witnessed(
        partition=int(partition),
        offset=int(offset),
        key=key.decode(errors="backslashreplace"),
        headers=headers.decode(errors="backslashreplace"),
        value=value,
    )
