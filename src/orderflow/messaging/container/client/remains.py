"""What earlier producers of a worker left open on its group's offsets: see `kafka.transactions`."""

from __future__ import annotations

import time
from collections.abc import Callable

from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.kafka import clients, finished_offsets
from orderflow.messaging.kafka.clients import TopicPartition
from orderflow.messaging.kafka.transactions import (
    ProducerLost,
    Transactions,
    committed,
    topic_exists,
)

MARKED_WITHIN_S = 10.0
"""A marker is written some ms after the abort was acknowledged, if it is not skipped."""


def end_remains(
    settings: ContainerSettings, transactions: Transactions, *, between: Callable[[], None]
) -> None:
    """
    Abort what this worker's transactional id has open on the group's offsets, and wait for that.

    To be called after `init`, before offsets are read: afterwards the group's coordinator has
    loaded all of them, and no offset that this id wrote lacks its marker. Returns without either
    when the listener's first topic is missing. Raises TransactionAborted or ProducerLost, the
    latter also when the marker of the abort is not there within 10 s: a new producer aborts again.
    """
    topic = settings.listener.topics[0].name
    # It joins no group: of one that is no member the broker asks no generation, so a membership
    # that ended meanwhile refuses nothing. That fits here only, where nothing is committed.
    outsider = clients.consumer(settings.kafka, settings.listener.group)
    try:
        if not topic_exists(outsider, topic):
            return

        # One offset for all: a marker ends everything that its producer has open on the group's
        # offsets. A reader stops on this one's text, should it ever become visible.
        mark = TopicPartition(topic, 0, 0, finished_offsets.NO_OFFSET)
        transactions.abort_remains(mark, outsider.consumer_group_metadata())

        # Read until the abort's own marker is there: it can be skipped like the one that it makes
        # up for, and the next commit would make this offset visible.
        until = time.monotonic() + MARKED_WITHIN_S

        def marked_in_time() -> None:
            between()
            if time.monotonic() > until:
                raise ProducerLost(
                    f"offsets of {settings.listener.group} have an open transaction", fenced=False
                )

        committed(outsider, TopicPartition(topic, 0), between=marked_in_time)
    finally:
        outsider.close()
