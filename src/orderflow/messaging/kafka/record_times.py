"""
When the lowest unfinished record of a partition was written: how far a group is behind, in time.

A record that a read_committed reader never gets (a transaction's marker, an aborted record, what
lies above the last stable offset) has no time here, and does not hold the answer back. Where
retention deleted the record, it is the next unfinished one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import (
    KafkaError,
    KafkaException,
    TopicPartition,
    consumer,
)
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import GROUP, is_passing
from orderflow.messaging.settings import KafkaSettings

KEPT_S = 60.0
"""A topic that was made anew has other records at the same offsets: its times are read again."""

FETCH_BYTES = 64 * 1024
"""Of each partition at once. One record is wanted; a broker sends a larger batch whole."""

TICK_S = 0.1
_NO_TIMESTAMP = 0


class Spot(msgspec.Struct, frozen=True):
    """
    A partition, and what of it is finished: the record that is meant is the first one that is not.
    """

    place: Place
    window: Window


class _Read(msgspec.Struct, frozen=True):
    written_s: float
    at: float


class RecordTimes:
    """
    Reads one record for each spot, over one connection that never joins a group. Not thread-safe.

    With `read_uncommitted` also records of open and of aborted transactions have a time.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    ) -> None:
        self._client = consumer(
            settings,
            GROUP,
            **{
                "isolation.level": isolation,
                "fetch.message.max.bytes": FETCH_BYTES,
                # A fetch that waits for more would hold the next spots back.
                "fetch.wait.max.ms": 50,
                "queued.min.messages": 1,
            },
        )
        self._read: dict[Spot, _Read] = {}

    def of(self, spots: Iterable[Spot], *, within_s: float) -> dict[Spot, float | None]:
        """
        Each spot's time in seconds since 1970; None if there is no such record. Spots that could
        not be read in time are left out.

        Raises Unavailable if the client can't be used at all.
        """
        deadline = time.monotonic() + within_s
        wanted = set(spots)
        self._forget_all_but(wanted)
        times: dict[Spot, float | None] = {
            spot: read.written_s for spot, read in self._read.items()
        }

        # Several groups may stand at several offsets of a partition: a round for each.
        left = wanted - set(times)
        while left and time.monotonic() < deadline:
            answers = self._round({spot.place: spot for spot in left}, deadline)
            # Whoever did not answer once will not do so at once: next time.
            if not answers:
                break
            times |= answers
            left -= set(answers)
        return times

    def close(self) -> None:
        self._client.close()

    def _forget_all_but(self, wanted: set[Spot]) -> None:
        now = time.monotonic()
        self._read = {
            spot: read
            for spot, read in self._read.items()
            if spot in wanted and now - read.at < KEPT_S
        }

    def _round(self, spots: dict[Place, Spot], deadline: float) -> dict[Spot, float | None]:
        """One spot of each partition; those that were not answered before the deadline are out."""
        answers: dict[Spot, float | None] = {}
        try:
            self._client.assign(
                [TopicPartition(*place, spot.window.base) for place, spot in spots.items()]
            )

            while spots and (left_s := deadline - time.monotonic()) > 0:
                message = self._client.poll(min(left_s, TICK_S))
                if message is not None:
                    self._take(message, spots, answers)
            # What stays assigned would go on fetching, for nobody.
            self._client.unassign()
        except KafkaException as error:
            raise Unavailable(
                f"could not read the times of records: {error.args[0].str()}", resource="broker"
            ) from error
        return answers

    def _take(
        self, message: Any, spots: dict[Place, Spot], answers: dict[Spot, float | None]
    ) -> None:
        place = (message.topic(), message.partition())
        error = message.error()
        # The client comes back by itself, and the deadline holds meanwhile.
        if error is not None and is_passing(error):
            return
        spot = spots.get(place)
        if spot is None:
            return

        if error is not None:
            del spots[place]
            # The end: below it there were only markers and aborted records. Any other error leaves
            # the spot without an answer.
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                answers[spot] = None
        elif not spot.window.is_finished(message.offset()):
            del spots[place]
            kind, milliseconds = message.timestamp()
            # A record without a time is no answer: None would say that there is no record.
            if kind != _NO_TIMESTAMP:
                answers[spot] = milliseconds / 1000
                self._read[spot] = _Read(milliseconds / 1000, time.monotonic())
