"""Topics as values: what a topic promises, whatever the cluster that keeps it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import msgspec


class Cleanup(StrEnum):
    """Kafka's `cleanup.policy`, verbatim."""

    DELETE = "delete"
    COMPACT = "compact"


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """
    A topic's promise.

    `key` says what the record key is: records of one key stay in order. `retention` is how long a record is kept at
    least; None for a compacted topic. `partitions` None means the configured default, chosen when the topic is made and
    then fixed for life (another count would send a key's later records elsewhere, out of order). `types` are the full
    names of the events that belong on it; anything else there is poison.
    """

    name: str
    key: str
    retention: timedelta | None
    types: tuple[str, ...] = ()
    partitions: int | None = None
    cleanup: Cleanup = Cleanup.DELETE
    record_bytes_max: int | None = None
