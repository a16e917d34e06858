"""Reads the topics from where the last run ended, and adds what is new to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from orderflow.books.folding import fold
from orderflow.books.sides.topics import EVENT_TOPICS, REVENUE_TOPICS
from orderflow.books.store import BooksStore
from orderflow.contracts.roster import TOPICS
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.messaging.kafka.group_topics import is_dead_letter_topic
from orderflow.messaging.kafka.log_batches import LogBatches
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings

BATCH_RECORDS = 2_000
SILENT_MAX_S = 20.0
"""Longer than a dead producer's transaction holds readers back (15 s)."""

READ = (
    *(topic.name for topic in (*EVENT_TOPICS, *REVENUE_TOPICS)),
    *(topic.name for topic in TOPICS if is_dead_letter_topic(topic.name)),
    DEAD_LETTER_DISPOSITIONS.name,
)
"""Every topic that is read."""

Watch = Callable[[str, int, int], None]
"""Called now and then with what is done, how much of it, and of how much."""


class TopicBooks:
    """The topics, as the store has them. Not thread-safe."""

    def __init__(self, kafka: KafkaSettings, store: BooksStore, decoder: Decoder) -> None:
        self._logs = Logs(kafka)
        self._batches = LogBatches(kafka)
        self._store = store
        self._decoder = decoder
        self.notes: list[str] = []
        """What whoever reads the report should know of the topics, since this was made."""

    def begin(self) -> None:
        """
        Look whether the topics are those that were read; else everything is read anew. What
        retention has deleted unread is noted: it is not missed. Raises Unavailable.
        """
        partitions = self._logs.partitions(READ)
        ids, known = self._logs.topic_ids(partitions), self._store.topic_ids
        made_anew = sorted(name for name, each in known.items() if ids.get(name, each) != each)
        if made_anew:
            self.notes.append(
                f"{', '.join(made_anew)}: made anew since the last run, all topics are read again"
            )
            self._store.begin_anew(ids)
        elif ids.keys() - known.keys():
            self._store.add_topics(ids)

        places = [(name, number) for name in partitions for number in range(partitions[name])]
        self._note_gaps(self._logs.firsts(places))

    def catch_up(self, watch: Watch = lambda _what, _done, _all: None) -> bool:
        """
        Read up to where every topic ends now, open transactions included; False if one stays open
        for too long. Raises Unavailable when the cluster, or the registry, can't be reached.
        """
        partitions = self._logs.partitions(READ)
        ends = self._logs.ends(
            [(name, number) for name in partitions for number in range(partitions[name])]
        )
        positions = self._store.positions()
        starts = {place: positions.get(place, 0) for place in ends}
        total = sum(max(0, end - starts[place]) for place, end in ends.items())

        reached, done = dict(starts), 0
        for batch in self._batches.read(
            starts, ends, records_max=BATCH_RECORDS, within_s=SILENT_MAX_S
        ):
            fold(self._store, batch.records, batch.positions, self._decoder)
            reached |= batch.positions
            done += len(batch.records)
            watch("records read", done, total)
        return all(reached[place] >= end for place, end in ends.items())

    def close(self) -> None:
        self._batches.close()

    def _note_gaps(self, firsts: Mapping[Place, int]) -> None:
        positions = self._store.positions()
        for place, first in firsts.items():
            if first > positions.get(place, 0) and place[0] not in _COMPACTED:
                self._note_gap(place, first)

    def _note_gap(self, place: Place, first: int) -> None:
        """Records below `first` are gone, unread: those until the first one that is there."""
        until_s = 0.0
        for batch in self._batches.read(
            {place: first}, {place: first + 1}, records_max=1, within_s=SILENT_MAX_S
        ):
            until_s = max((record.timestamp.timestamp() for record in batch.records), default=0.0)
        self._store.note_gap(place, first, until_s or time.time())
        self.notes.append(
            f"{place[0]}-{place[1]}: begins at offset {first}; what was written before is not"
            " compared"
        )


_COMPACTED = frozenset({DEAD_LETTER_DISPOSITIONS.name, "revenue-by-customer"})
"""They have the last record of each key, whatever their first offset."""
