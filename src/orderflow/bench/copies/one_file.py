"""
The lake's baseline in `bench copies`: the same rows in memory, then once into one Parquet file.

`python -m orderflow.bench.copies.one_file JSON FILE`. A process of its own, since only the lake's
code loads pyarrow. It writes nothing to disk and commits nothing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from orderflow.bench.copies.paced import memory_mb
from orderflow.bench.copies.reading import Events, FileTask, OneFile, batches
from orderflow.bench.naive_consumer import open_consumer
from orderflow.contracts.topics import PAYMENTS
from orderflow.services.lake import parquet
from orderflow.services.lake.model import Row

BATCH = 2_000


def main(task: FileTask) -> OneFile:
    rows, began, cpu = _read(task)
    read, read_cpu = time.monotonic(), time.process_time()
    _body, added = parquet.merged("one file", None, rows) or (b"", 0)
    written, write_cpu = time.monotonic(), time.process_time()

    return OneFile(
        rows=added,
        read_s=read - began,
        write_s=written - read,
        read_cpu_s=read_cpu - cpu,
        write_cpu_s=write_cpu - read_cpu,
        memory_mb=memory_mb(os.getpid()),
    )


def _read(task: FileTask) -> tuple[list[Row], float, float]:
    """The rows, and when the first batch came: what it had is decoded after that."""
    events, consumer, rows = Events(task), open_consumer(task, PAYMENTS.name), list[Row]()
    began = cpu = 0.0
    for messages in batches(task, consumer, BATCH):
        if messages and not rows:
            began, cpu = time.monotonic(), time.process_time()
        rows += [
            Row(*events.of(message), message.partition(), message.offset()) for message in messages
        ]
        if len(rows) >= task.rows:
            break

    consumer.close()
    return rows, began, cpu


if __name__ == "__main__":
    done = main(msgspec.json.decode(sys.argv[1], type=FileTask, strict=False))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(done))
