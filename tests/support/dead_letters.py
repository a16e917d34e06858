"""
*kit*: dead letters of a group that belongs to the tests, on the real broker: its topics, letters
put there as a listener does, the desk in this process and in others, and what the log says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from tests.support.stack import Stack

from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.dead_letters.letter import Evidence, letter
from orderflow.messaging.errors import RecordFault
from orderflow.messaging.event import DLT_ORIGINAL_OFFSET
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import ConsumerRecord, read
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually

FAILED_AT = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
EXIT_FENCED = 3


def dead_letter(
    topic: str,
    group: str,
    offset: int,
    *,
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    replays: int = 0,
    event_type: str = "shop.Ordered",
    more: Sequence[tuple[str, bytes | None]] = (),
) -> Produced:
    """The letter of the record at this offset of partition 0 of `topic`."""
    return letter(
        dlt=f"{topic}.{group}.dlt",
        topic=topic,
        partition=0,
        offset=offset,
        timestamp_ms=1_769_850_000_000 + offset,
        timestamp_type=1,
        key=key,
        value=value,
        headers=[
            ("ce_id", f"event-{offset}".encode()),
            ("ce_type", event_type.encode()),
            ("ce_correlationid", key),
            *more,
            ("orderflow-replay-count", str(replays).encode()),
        ],
        evidence=Evidence(
            exception=RecordFault("no such product"),
            attempts=3,
            first_failure=FAILED_AT,
            last_failure=FAILED_AT,
            group=group,
        ),
    )


@dataclass
class LetterBox:
    """A topic with a group that gave some of its records up, and dispositions of its own."""

    stack: Stack
    topic: str

    group = "parcel-service"

    @property
    def dlt(self) -> str:
        return f"{self.topic}.{self.group}.dlt"

    @property
    def replay(self) -> str:
        return f"{self.topic}.{self.group}.replay"

    @property
    def dispositions(self) -> str:
        return f"{self.topic}-dispositions"

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.bootstrap_servers)

    @property
    def desk(self) -> Desk:
        return Desk(self.kafka, {self.group: (self.topic,)}, self.dispositions)

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.stack.bootstrap_servers})

    @cached_property
    def producer(self) -> clients.Producer:
        producer = clients.transactional_producer(self.kafka, f"{self.topic}.worker")
        producer.init_transactions(30)
        return producer

    def write(self, letters: Iterable[Produced]) -> None:
        """Put records on their topics in one transaction, which leaves its markers."""
        self.producer.begin_transaction()
        for topic, key, value, headers in letters:
            self.producer.produce(topic, value, key, headers=headers)
        self.producer.commit_transaction(30)

    def fail(self, *offsets: int, key: bytes | None = b"k", replays: int = 0) -> None:
        """The records at these offsets, of one key, become dead letters in this order."""
        self.write(
            dead_letter(self.topic, self.group, offset, key=key, replays=replays)
            for offset in offsets
        )

    def create(self, *topics: str) -> None:
        made = self.admin.create_topics([NewTopic(name, 1, 1) for name in topics])
        for future in made.values():
            future.result(30)
        eventually(
            lambda: set(topics) <= self.admin.list_topics(timeout=5).topics.keys(), within_s=20
        )

    def delete(self, *topics: str) -> None:
        known = self.admin.list_topics(timeout=5).topics.keys()
        gone = self.admin.delete_topics([name for name in topics if name in known] or ["none"])
        for name, future in gone.items():
            if name != "none":
                future.result(30)

    def records(self, topic: str) -> list[ConsumerRecord]:
        return [record for record in read(self.kafka, topic, follow=False) if record is not None]

    def replayed(self) -> list[int]:
        """The original offsets of all copies, in the order in which they were sent."""
        return [
            int.from_bytes(dict(record.headers)[DLT_ORIGINAL_OFFSET] or b"", "big")
            for record in self.records(self.replay)
        ]

    def start_worker(
        self, act: str, directory: Path, *, failpoints: str = "", batch: int = 4
    ) -> DeskWorker:
        """`replay` or `discard` of everything, in transactions of at most `batch` letters."""
        path = directory / f"{uuid4().hex}.log"
        with path.open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", "tests.support.desk_worker", act],
                cwd=Path(__file__).parents[2],
                env={
                    **os.environ,
                    "DESK_BROKER": self.stack.bootstrap_servers,
                    "DESK_TOPIC": self.topic,
                    "DESK_GROUP": self.group,
                    "DESK_BATCH": str(batch),
                    "ORDERFLOW_FAILPOINTS": failpoints,
                },
                stdout=log,
                stderr=log,
            )
        return DeskWorker(popen, path)


@dataclass
class DeskWorker:
    popen: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> int:
        """Its exit code; EXIT_FENCED if another desk came."""
        return self.popen.wait(60)

    def wait_until_stopped(self) -> None:
        """Until it stands at its failpoint."""
        status = Path(f"/proc/{self.popen.pid}/stat")
        eventually(
            lambda: status.read_text().rpartition(") ")[2][0] == "T",
            within_s=30,
            why="a desk that stands at its failpoint",
        )

    def go_on(self) -> None:
        self.popen.send_signal(signal.SIGCONT)


@contextmanager
def letter_box(stack: Stack) -> Iterator[LetterBox]:
    """With its four topics, which are gone afterwards."""
    box = LetterBox(stack, f"parcels-{uuid4().hex[:8]}")
    box.create(box.topic, box.dlt, box.replay, box.dispositions)
    try:
        yield box
    finally:
        box.delete(box.topic, box.dlt, box.replay, box.dispositions)
