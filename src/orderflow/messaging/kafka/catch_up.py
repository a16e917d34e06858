"""Reads logs to their ends, and later what was added since: over one connection, in no group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import (
    KafkaError,
    KafkaException,
    TopicPartition,
    consumer,
)
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import GROUP, is_passing
from orderflow.messaging.kafka.survey import Log
from orderflow.messaging.settings import KafkaSettings

TICK_S = 0.1


class ReadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record is kept. `written_s`: its time, in seconds since 1970."""

    place: Place
    offset: int
    written_s: float
    key: bytes | None
    has_value: bool


class CatchUp:
    """
    How far logs have been read. Not thread-safe.

    Each committed record is yielded once, in the order of its partition.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._client = consumer(settings, GROUP, **{"fetch.wait.max.ms": 50})
        self._positions: dict[Place, int] = {}
        self._logs: Mapping[Place, Log] = {}

    def turn_to(self, logs: Mapping[Place, Log]) -> set[Place]:
        """
        These are the logs now. Returns those that are gone, or were begun anew: a log that ends
        before where it was read to is another one, and is read from its beginning.
        """
        others = {
            place
            for place, position in self._positions.items()
            if place not in logs or position > logs[place].end
        }

        known = {place: at for place, at in self._positions.items() if place not in others}
        # Retention may have deleted what was still to be read.
        self._positions = {
            place: max(log.first, known.get(place, log.first)) for place, log in logs.items()
        }
        self._logs = logs
        return others

    def read(self, *, within_s: float) -> Iterator[ReadRecord]:
        """
        What is new below the stable ends of the logs; what does not come within `within_s` comes
        next time. Raises Unavailable if the client can't be used at all.
        """
        unread = self._unread()
        if not unread:
            return

        deadline = time.monotonic() + within_s
        try:
            self._client.assign(
                [TopicPartition(*place, self._positions[place]) for place in unread]
            )
            while unread and (left_s := deadline - time.monotonic()) > 0:
                message = self._client.poll(min(left_s, TICK_S))
                if message is not None:
                    yield from self._taken(message, unread)
            self._client.unassign()
        except KafkaException as error:
            raise Unavailable(
                f"could not read topics: {error.args[0].str()}", resource="broker"
            ) from error

    def has_read_all(self) -> bool:
        """Whether all that was committed when `turn_to` was called has been yielded."""
        return not self._unread()

    def close(self) -> None:
        self._client.close()

    def _unread(self) -> set[Place]:
        return {
            place for place, log in self._logs.items() if self._positions[place] < log.stable_end
        }

    def _taken(self, message: Any, unread: set[Place]) -> Iterator[ReadRecord]:
        place = (message.topic(), message.partition())
        error = message.error()
        if error is None:
            # Before it is yielded: who stops listening has still had it.
            self._positions[place] = message.offset() + 1
            yield ReadRecord(
                place=place,
                offset=message.offset(),
                written_s=message.timestamp()[1] / 1000,
                key=message.key(),
                has_value=message.value() is not None,
            )

        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
            # Above the last record there may be markers and aborted records.
            self._positions[place] = max(self._positions[place], message.offset())
            unread.discard(place)
        elif not is_passing(error):
            unread.discard(place)
